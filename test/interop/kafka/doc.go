// What make servers builds: three brokers that speak Kafka's protocol, in memory, and a client of them.
//
//	kafka serve            brokers at :9092, :9093 and :9094, which say that they are at the pod's Service, at its full
//	                       name, and at the pod's own address
//	kafka talk SERVER TOPIC   prints what the client saw, one JSON object a line
package main
