package main

import (
	"testing"
	"testing/fstest"
)

func TestMemoryLimit(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  int64 // 0 for none
	}{
		{"no_cgroup", nil, 0},
		{"v2_container", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "134217728\n"}, 134217728},
		{"v2_without_limit", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"v2_limit_of_the_pod_above", map[string]string{
			"proc/self/cgroup":                          "0::/kubepods/pod1/c1\n",
			"sys/fs/cgroup/kubepods/pod1/c1/memory.max": "max\n",
			"sys/fs/cgroup/kubepods/pod1/memory.max":    "67108864\n",
		}, 67108864},
		{"v1_container", map[string]string{
			"proc/self/cgroup":                           "5:memory:/kubepods/pod1/c1\n4:cpu,cpuacct:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "50331648\n",
		}, 50331648},
		{"v1_on_the_host", map[string]string{
			"proc/self/cgroup":                               "5:hugetlb,memory:/a/b\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":     "9223372036854771712\n",
			"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "40000000\n",
		}, 40000000},
		{"v1_without_limit", map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		{"nonsense", map[string]string{"proc/self/cgroup": "0\n::\n", "sys/fs/cgroup/memory.max": "-1 x\n"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range tt.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			got, ok := memoryLimit(root)
			if ok != (tt.want > 0) || ok && got != tt.want {
				t.Errorf("memoryLimit() = %d, %t, want %d", got, ok, tt.want)
			}
		})
	}
}
