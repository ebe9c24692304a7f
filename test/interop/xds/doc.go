// Package xds has the gRPC libraries' own xDS clients call by what the control plane tells them: grpc-go within the test, grpcio,
// grpc-js and grpc-java as the programs of test/proxyless. There is one control plane, a real one, which follows a directory of manifests, and no lab:
// a client is known as the pod whose address is 127.0.0.1, and servers have loopback addresses of their own.
//
// Each case is named as in the table of docs/reference/xds.md. After each of them grpc-go says what it has, by its CSDS: nothing of it
// may be refused. FAIRLEAD_PROXYLESS says where the programs of the other libraries are; without it they are left out. The tests are
// run by `make proxyless`; they have a module of their own because of what grpc-go's client needs.
package xds
