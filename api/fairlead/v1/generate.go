package fairleadv1

//go:generate protoc -I ../.. --go_out=../.. --go_opt=paths=source_relative fairlead/v1/resource.proto fairlead/v1/discovery.proto
