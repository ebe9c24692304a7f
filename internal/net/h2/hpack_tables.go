package h2

import "sync"

// staticLen is the number of entries of the static table, RFC 7541 appendix A.
const staticLen = 61

// staticEntry is a field of the static table.
type staticEntry struct{ name, value []byte }

// staticTable is RFC 7541 appendix A; index 0 is not used.
//
//nolint:gochecknoglobals // a table of the standard
var staticTable = makeStaticTable()

func makeStaticTable() (t [staticLen + 1]staticEntry) {
	pairs := [...][2]string{
		{":authority", ""},
		{":method", "GET"},
		{":method", "POST"},
		{":path", "/"},
		{":path", "/index.html"},
		{":scheme", "http"},
		{":scheme", "https"},
		{":status", "200"},
		{":status", "204"},
		{":status", "206"},
		{":status", "304"},
		{":status", "400"},
		{":status", "404"},
		{":status", "500"},
		{"accept-charset", ""},
		{"accept-encoding", "gzip, deflate"},
		{"accept-language", ""},
		{"accept-ranges", ""},
		{"accept", ""},
		{"access-control-allow-origin", ""},
		{"age", ""},
		{"allow", ""},
		{"authorization", ""},
		{"cache-control", ""},
		{"content-disposition", ""},
		{"content-encoding", ""},
		{"content-language", ""},
		{"content-length", ""},
		{"content-location", ""},
		{"content-range", ""},
		{"content-type", ""},
		{"cookie", ""},
		{"date", ""},
		{"etag", ""},
		{"expect", ""},
		{"expires", ""},
		{"from", ""},
		{"host", ""},
		{"if-match", ""},
		{"if-modified-since", ""},
		{"if-none-match", ""},
		{"if-range", ""},
		{"if-unmodified-since", ""},
		{"last-modified", ""},
		{"link", ""},
		{"location", ""},
		{"max-forwards", ""},
		{"proxy-authenticate", ""},
		{"proxy-authorization", ""},
		{"range", ""},
		{"referer", ""},
		{"refresh", ""},
		{"retry-after", ""},
		{"server", ""},
		{"set-cookie", ""},
		{"strict-transport-security", ""},
		{"transfer-encoding", ""},
		{"user-agent", ""},
		{"vary", ""},
		{"via", ""},
		{"www-authenticate", ""},
	}
	for i, p := range &pairs {
		t[i+1] = staticEntry{[]byte(p[0]), []byte(p[1])}
	}
	return t
}

// staticName is the index of the first entry of the static table called name, 0 where there is none.
func staticName(name []byte) int {
	switch string(name) {
	case ":authority":
		return 1
	case ":method":
		return 2
	case ":path":
		return 4
	case ":scheme":
		return 6
	case ":status":
		return 8
	case "accept-charset":
		return 15
	case "accept-encoding":
		return 16
	case "accept-language":
		return 17
	case "accept-ranges":
		return 18
	case "accept":
		return 19
	case "access-control-allow-origin":
		return 20
	case "age":
		return 21
	case "allow":
		return 22
	case "authorization":
		return 23
	case "cache-control":
		return 24
	case "content-disposition":
		return 25
	case "content-encoding":
		return 26
	case "content-language":
		return 27
	case "content-length":
		return 28
	case "content-location":
		return 29
	case "content-range":
		return 30
	case "content-type":
		return 31
	case "cookie":
		return 32
	case "date":
		return 33
	case "etag":
		return 34
	case "expect":
		return 35
	case "expires":
		return 36
	case "from":
		return 37
	case "host":
		return 38
	case "if-match":
		return 39
	case "if-modified-since":
		return 40
	case "if-none-match":
		return 41
	case "if-range":
		return 42
	case "if-unmodified-since":
		return 43
	case "last-modified":
		return 44
	case "link":
		return 45
	case "location":
		return 46
	case "max-forwards":
		return 47
	case "proxy-authenticate":
		return 48
	case "proxy-authorization":
		return 49
	case "range":
		return 50
	case "referer":
		return 51
	case "refresh":
		return 52
	case "retry-after":
		return 53
	case "server":
		return 54
	case "set-cookie":
		return 55
	case "strict-transport-security":
		return 56
	case "transfer-encoding":
		return 57
	case "user-agent":
		return 58
	case "vary":
		return 59
	case "via":
		return 60
	case "www-authenticate":
		return 61
	}
	return 0
}

// huffmanLengths is the length in bits of the code of each byte and of the end of string, RFC 7541 appendix B. The
// code is canonical: the codes follow from the lengths.
//
//nolint:gochecknoglobals // a table of the standard
var huffmanLengths = [257]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
	28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
	5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
	7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
	6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
	24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
	21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
	19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
	26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
	30,
}

// huffmanStep is what four bits of input do in a state of the decoder.
type huffmanStep struct {
	next   uint8 // node of the code tree to go on from
	symbol uint8
	flags  uint8
}

const (
	huffmanEmit   = 1 << iota // symbol is complete
	huffmanAccept             // the input may end here: fewer than 8 bits of padding, all ones
	huffmanFail               // the end-of-string code inside a string
)

// huffmanTree is the decoder, built at first use: a mesh hop never needs it.
//
//nolint:gochecknoglobals // derived from the table above
var huffmanTree = sync.OnceValue(buildHuffman)

// huffmanCodes gives the canonical codes: ascending by length, then by symbol.
func huffmanCodes() (codes [257]uint32) {
	code := uint32(0)
	for length := uint8(1); length <= 30; length++ {
		for sym, l := range huffmanLengths {
			if l == length {
				codes[sym] = code
				code++
			}
		}
		code <<= 1
	}
	return codes
}

// huffmanLeaf marks a child that is a symbol, in its low bits, and not a node.
const huffmanLeaf = 1 << 15

// huffmanNodes is the code tree: the child of each node per bit, 0 for none.
func huffmanNodes() [][2]int {
	tree := make([][2]int, 1, 257)
	for sym, code := range huffmanCodes() {
		node := 0
		for bit := int(huffmanLengths[sym]) - 1; bit >= 0; bit-- {
			b := code >> bit & 1
			if bit == 0 {
				tree[node][b] = huffmanLeaf | sym
				break
			}
			if tree[node][b] == 0 {
				tree = append(tree, [2]int{})
				tree[node][b] = len(tree) - 1
			}
			node = tree[node][b]
		}
	}
	return tree
}

// buildHuffman walks every node of the code tree with every four bits.
func buildHuffman() *[256][16]huffmanStep {
	tree := huffmanNodes()
	// ones[node] is set for the nodes reached by at most seven ones: valid padding (RFC 7541 §5.2).
	ones := make(map[int]bool)
	for node, depth := 0, 0; depth < 8; node, depth = tree[node][1], depth+1 {
		ones[node] = true
	}
	steps := new([256][16]huffmanStep)
	for node := range tree {
		for nibble := range 16 {
			step, at := huffmanStep{}, node
			for bit := 3; bit >= 0; bit-- {
				at = tree[at][nibble>>bit&1]
				if at&huffmanLeaf == 0 {
					continue
				}
				if at == huffmanLeaf|256 {
					step.flags |= huffmanFail
				}
				step.symbol, step.flags, at = uint8(at), step.flags|huffmanEmit, 0
			}
			if ones[at] {
				step.flags |= huffmanAccept
			}
			step.next = uint8(at)
			steps[node][nibble] = step
		}
	}
	return steps
}
