//go:build clients

package lab_test

import (
	"path/filepath"
	"testing"
)

// kafka is a cluster of three brokers in one pod. They send their clients to the Service's short name, its full one and the pod's own
// address; the first port is declared, the second is detected.
func kafka(t *testing.T) func(own string) realServer {
	return func(string) realServer {
		return realServer{
			name: "kafka", ready: 9092, argv: []string{installed(t, "kafka"), "serve"},
			ports: "{name: tcp-kafka, port: 9092}, {name: detected, port: 9093}, {name: third, port: 9094}",
		}
	}
}

// TestServersKafka: clients go from the broker that they know to those that it names, also when a partition moves while they write
// to it, and share partitions as a group.
func TestServersKafka(t *testing.T) {
	t.Parallel()
	p := startPairs(t, kafka(t))
	const ends = "brokers 0, topic 0, produce 0, large 0, consume 0, moved 0, group 0, refused 0"
	p.compare(t, "kafka", ends, func(t *testing.T, from, server string) []exchange {
		return scriptFrom(t, p.mesh, from, installed(t, "kafka"), "talk", server, filepath.Base(from))
	})
	p.secured(t, "kafka")
}
