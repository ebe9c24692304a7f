# Debian's Prometheus is built without discovery of Kubernetes' pods. This finds them for it, by its discovery over HTTP, with
# the labels that its own discovery would give them, so that the rest of a configuration for Kubernetes stays as it is.
import http.server, json, os, re, ssl, urllib.request

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/"
PREFIX = "__meta_kubernetes_"


def pods():
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    host = f"[{host}]" if ":" in host else host
    request = urllib.request.Request(f"https://{host}:{os.environ['KUBERNETES_SERVICE_PORT']}/api/v1/pods")
    request.add_header("Authorization", "Bearer " + open(ACCOUNT + "token").read())
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=ACCOUNT + "ca.crt"), timeout=10) as answer:
        return json.load(answer)["items"]


def labels(kind, values):
    return {f"{PREFIX}pod_{kind}_" + re.sub(r"[^a-zA-Z0-9_]", "_", name): value for name, value in (values or {}).items()}


def targets():
    for pod in pods():
        meta, status = pod["metadata"], pod["status"]
        if "podIP" not in status:
            continue
        ip = status["podIP"]
        yield {
            "targets": [f"[{ip}]" if ":" in ip else ip],
            "labels": {
                PREFIX + "namespace": meta["namespace"], PREFIX + "pod_name": meta["name"], PREFIX + "pod_ip": ip, PREFIX + "pod_phase": status["phase"],
                **labels("label", meta.get("labels")), **labels("annotation", meta.get("annotations")),
            },
        }


class Discovery(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(list(targets())).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", 8081), Discovery).serve_forever()
