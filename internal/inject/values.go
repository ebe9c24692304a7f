package inject

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// The functions of this file read one value of an annotation or of the configuration. Their errors quote the value and
// say what to write; the caller names the field.

// everything stands for all ports or addresses.
const everything = "*"

// nowhere is a destination that no host can have (RFC 1122 §3.2.1.3): to capture only this is to capture nothing.
const nowhere = "0.0.0.0/32"

// maxInterface is IFNAMSIZ less the final zero.
const maxInterface = 15

// imageName is loose on purpose: the API server and the kubelet have the last word on references.
var imageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@+-]*$`)

func parseImage(s string) (string, error) {
	if !imageName.MatchString(s) {
		return "", fmt.Errorf("%q is no image; write REGISTRY/NAME:TAG", s)
	}
	return s, nil
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "enabled":
		return true, nil
	case "false", "disabled":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither \"true\" nor \"false\"", s)
}

// parseLogLevel takes the levels of fairlead-proxy, and those of Istio's proxy for the nearest of them.
func parseLogLevel(s string) (string, error) {
	switch level := strings.ToLower(s); level {
	case "debug", "info", "warn", "error":
		return level, nil
	case "trace":
		return "debug", nil
	case "warning":
		return "warn", nil
	case "critical", "off":
		return "error", nil
	}
	return "", fmt.Errorf("%q is none of debug, info, warn and error", s)
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration; write 5s or 1m30s", s)
	}
	return d, nil
}

func parseQuantity(s string) (resource.Quantity, error) {
	q, err := resource.ParseQuantity(s)
	if err != nil || q.Sign() < 0 {
		return resource.Quantity{}, fmt.Errorf("%q is no amount; write 100m or 0.1 for CPU, 64Mi for memory", s)
	}
	return q, nil
}

// parsePorts takes "80, 8000-8010", "*" and "", and gives it without blanks.
func parsePorts(s string) (string, error) {
	return parseList(s, func(part string) error {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if err != nil || err2 != nil || a == 0 || a > b {
			return fmt.Errorf("%q is no port; write 8080 or 8000-8010", part)
		}
		return nil
	})
}

// parseCIDRs takes "10.0.0.0/8, fd00::/8, 10.1.2.3", "*" and "", and gives it without blanks.
func parseCIDRs(s string) (string, error) {
	return parseList(s, func(part string) error {
		if _, err := netip.ParseAddr(part); err == nil {
			return nil
		}
		if _, err := netip.ParsePrefix(part); err != nil {
			return fmt.Errorf("%q is no CIDR; write 10.0.0.0/8 or an address", part)
		}
		return nil
	})
}

func parseInterfaces(s string) (string, error) {
	return parseExcluded(func(s string) (string, error) {
		return parseList(s, func(part string) error {
			if len(part) > maxInterface || strings.ContainsAny(part, " \t/:$") {
				return fmt.Errorf("%q is no name of a network interface", part)
			}
			return nil
		})
	}, s)
}

// parseExcluded refuses "*": excluding everything is written as including nothing.
func parseExcluded(parse func(string) (string, error), s string) (string, error) {
	if strings.TrimSpace(s) == everything {
		return "", errors.New(`"*" would leave nothing to the sidecar; name what to leave alone`)
	}
	return parse(s)
}

func parseList(s string, check func(part string) error) (string, error) {
	if s = strings.TrimSpace(s); s == everything || s == "" {
		return s, nil
	}
	var parts []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		if err := check(part); err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ","), nil
}

// didYouMean gives ", did you mean …?" where one of the names is close to word.
func didYouMean(word string, names []string) string {
	const farthest = 3
	best, at := "", min(farthest, max(1, len(word)/3))+1
	for _, name := range names {
		if d := distance(strings.ToLower(word), strings.ToLower(name)); d < at {
			best, at = name, d
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + best + "?"
}

// distance is Levenshtein's: the letters to insert, remove or replace.
func distance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			corner, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, corner+cost)
		}
	}
	return row[len(b)]
}
