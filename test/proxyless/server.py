"""A gRPC server in Python: server.py NAME ADDRESS. See main.go, whose server it is the same as, but for plain callers' sidecars."""

import concurrent.futures
import os
import sys

import grpc
import grpc.experimental

SERVING = b"\x08\x01"  # a HealthCheckResponse


class Health(grpc.GenericRpcHandler):
    def service(self, call):
        if call.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(check)
        return None


def check(_, context):
    said = sys.argv[1]
    if said.endswith("for "):
        ids = context.auth_context().get("peer_spiffe_id", [])
        said += ids[0].decode() if ids else "nobody"
    context.send_initial_metadata((("x-backend", said),))
    return SERVING


by_xds = "GRPC_XDS_BOOTSTRAP" in os.environ
server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), (Health(),), xds=by_xds)
if by_xds:
    server.add_secure_port(sys.argv[2], grpc.xds_server_credentials(grpc.insecure_server_credentials()))
else:
    server.add_insecure_port(sys.argv[2])
server.start()
server.wait_for_termination()
