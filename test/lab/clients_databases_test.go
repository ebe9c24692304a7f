//go:build clients

package lab_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// certificates are those of the servers and of a client, and a file of numbers to be sent.
func certificates(t *testing.T, servers ...string) *authority {
	t.Helper()
	a := newAuthority(t)
	a.issue(t, "certified")
	names := append([]string(nil), servers...)
	for _, name := range servers {
		names = append(names, plainPrefix+name)
	}
	a.issueFor(t, "server", names...)
	var numbers strings.Builder
	for i := range 100_000 {
		fmt.Fprintln(&numbers, i)
	}
	if err := os.WriteFile(a.path("numbers.txt"), []byte(numbers.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"server.key", "certified.key"} {
		if err := os.Chmod(a.path(key), 0o644); err != nil { // servers have users of their own
			t.Fatal(err)
		}
	}
	return a
}

// versions prints what is compared.
func versions(t *testing.T, commands ...string) {
	t.Helper()
	for _, command := range commands {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		t.Logf("%s", strings.TrimSpace(string(out)))
	}
}

// databases runs databases.py for one protocol.
func (p *pairs) databases(protocol, port, dir string) func(t *testing.T, from, server string) []exchange {
	return func(t *testing.T, from, server string) []exchange {
		return scriptFrom(t, p.mesh, from, "python3", programFile(t, "databases.py"), protocol, server, port, dir)
	}
}

// all writes the ends of conversations that go well.
func all(prefix string, names ...string) string {
	var out []string
	for _, name := range names {
		out = append(out, prefix+name+" 0")
	}
	return strings.Join(out, ", ")
}

var postgresTalk = []string{
	"tls", "numbers", "binary", "copied-in", "copied-out", "pipeline", "prepared", "cursor", "error", "timeout", "cancelled", "notified", "terminated",
}

// psqlCalls are calls by libpq's own program: each way to negotiate TLS, what the server refuses, and much in each direction.
const psqlCalls = `
plain psql -At "host=SERVER port=PORT user=story dbname=postgres sslmode=disable" -c "$q"
prefer psql -At "host=SERVER port=PORT user=story dbname=postgres" -c "$q"
verify-full psql -At "host=SERVER port=PORT user=story dbname=postgres sslmode=verify-full sslrootcert=$d/ca.pem" -c "$q"
certificate psql -At "host=SERVER port=PORT user=certified dbname=postgres sslmode=verify-full sslrootcert=$d/ca.pem sslcert=$d/certified.pem sslkey=$k" -c "$q"
wrong-ca psql -At "host=SERVER port=PORT user=story dbname=postgres sslmode=verify-full sslrootcert=$d/certified.pem" -c "$q"
wrong-password PGPASSWORD=wrong psql -At "host=SERVER port=PORT user=story dbname=postgres sslmode=require" -c "$q"
tls-missing psql -At "host=SERVER port=PORT user=tlsonly dbname=postgres sslmode=disable" -c "$q"
table psql -At "host=SERVER port=PORT user=story dbname=postgres sslmode=require" -c "drop table if exists numbers; create table numbers (n int)" -c "\copy numbers from $d/numbers.txt" -c "select count(*), sum(n) from numbers"
copied psql -At "host=SERVER port=PORT user=story dbname=postgres sslmode=disable" -c "copy (select i, md5(i::text) from generate_series(1, 300000) i) to stdout"
row psql -At "host=SERVER port=PORT user=story dbname=postgres" -c "select repeat('x', 50000000)"
failed psql -At "host=SERVER port=PORT user=story dbname=postgres" -c "select 1 / 0"
dumped pg_dump "host=SERVER port=PORT user=story dbname=postgres" --data-only --table numbers | grep -v restrict
pgbench-tables pgbench -i -q -s 1 "host=SERVER port=PORT user=story dbname=postgres" 2>/dev/null
pgbench pgbench -n -M prepared -c 4 -t 50 "host=SERVER port=PORT user=story dbname=postgres" 2>/dev/null | grep -E "processed|failed"
pgbench-connects pgbench -n -C -c 2 -t 20 -S "host=SERVER port=PORT user=story dbname=postgres sslmode=disable" 2>/dev/null | grep -E "processed|failed"
`

const psqlEnds = "plain 0, prefer 0, verify-full 0, certificate 0, wrong-ca 2, wrong-password 2, tls-missing 2, table 0, copied 0, row 0, failed 1, dumped 0, " +
	"pgbench-tables 0, pgbench 0, pgbench-connects 0"

// TestServersPostgreSQL: psql, pgbench and psycopg call PostgreSQL in plaintext and with its own TLS, which begins after a
// question in plaintext.
func TestServersPostgreSQL(t *testing.T) {
	t.Parallel()
	versions(t, "psql --version", "$(ls -d /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1) --version")
	a := certificates(t, "postgresql")
	p := startPairs(t, func(own string) realServer {
		return realServer{
			name: "postgresql", user: "postgres", argv: []string{programFile(t, "postgres.sh"), own, a.dir}, ready: 5432,
			ports: "{name: tcp-postgres, port: 5432}, {name: detected, port: 5433, targetPort: 5432}",
		}
	})
	key := a.path("private.key") // libpq wants it to be read by its user alone
	if err := os.WriteFile(key, []byte(read(t, a.path("certified.key"))), 0o600); err != nil {
		t.Fatal(err)
	}
	addresses := regexp.MustCompile(`\(?[0-9a-f]+[.:][0-9a-f.:]+\)?,? port \d+`)
	for _, port := range []string{"5432", "5433"} {
		t.Run("psql:"+port, func(t *testing.T) {
			p.compare(t, "postgresql", psqlEnds, func(t *testing.T, from, server string) []exchange {
				vars := fmt.Sprintf("export PGPASSWORD=${PGPASSWORD:-secret} PGCONNECT_TIMEOUT=30 d=%s k=%s q='select ssl, version, client_dn from pg_stat_ssl where pid = pg_backend_pid()'; ", a.dir, key)
				var lines strings.Builder
				for line := range strings.Lines(strings.TrimSpace(strings.ReplaceAll(psqlCalls, "PORT", port))) {
					name, command, _ := strings.Cut(line, " ")
					lines.WriteString(name + " " + vars + command)
				}
				out := p.programs(t, from, server, lines.String())
				for i := range out { // where the server is, and where it sees the client
					out[i].Body = addresses.ReplaceAllString(out[i].Body, "ADDRESS")
					out[i].Body = hostOfClient.ReplaceAllString(out[i].Body, `host "ADDRESS"`)
				}
				return out
			})
		})
		t.Run("psycopg:"+port, func(t *testing.T) {
			p.compare(t, "postgresql", all("plain-", postgresTalk...)+", "+all("tls-", postgresTalk...), p.databases("postgres", port, a.dir))
		})
	}
	p.secured(t, "postgresql")
}

var hostOfClient = regexp.MustCompile(`host "[0-9a-f.:]+"`)

var mysqlTalk = []string{"tls", "numbers", "binary", "big", "inserted", "blobs", "file", "stream", "error", "killed"}

// TestServersMariaDB: the server speaks first; TLS begins after its greeting.
func TestServersMariaDB(t *testing.T) {
	t.Parallel()
	versions(t, "mariadbd --version", "mariadb --version")
	a := certificates(t, "mariadb")
	p := startPairs(t, func(own string) realServer {
		return realServer{
			name: "mariadb", user: "nobody", argv: []string{programFile(t, "mariadb.sh"), own, a.dir}, ready: 3306,
			ports: "{name: mysql, port: 3306}, {name: detected, port: 3307, targetPort: 3306}",
		}
	})
	const calls = `
plain mariadb --no-defaults -h SERVER -P PORT -u story -psecret --skip-ssl -N -e "show status like 'Ssl_version'"
tls mariadb --no-defaults -h SERVER -P PORT -u story -psecret --ssl --ssl-ca=$d/ca.pem --ssl-verify-server-cert -N -e "show status like 'Ssl_version'"
compressed mariadb --no-defaults -h SERVER -P PORT -u story -psecret --skip-ssl --compress --max-allowed-packet=64M -N -e "select repeat('x', 5000000)"
big mariadb --no-defaults -h SERVER -P PORT -u story -psecret --ssl --ssl-ca=$d/ca.pem --quick --max-allowed-packet=64M -N story -e "select seq, repeat('x', 200) from seq_1_to_100000"
wrong-password mariadb --no-defaults -h SERVER -P PORT -u story -pwrong --skip-ssl -N -e "select 1"
tls-missing mariadb --no-defaults -h SERVER -P PORT -u tlsonly -psecret --skip-ssl -N -e "select 1"
error mariadb --no-defaults -h SERVER -P PORT -u story -psecret --skip-ssl -N -e "select no_such_column"
`
	for _, port := range []string{"3306", "3307"} {
		t.Run("mariadb:"+port, func(t *testing.T) {
			p.compare(t, "mariadb", "plain 0, tls 0, compressed 0, big 0, wrong-password 1, tls-missing 1, error 1", func(t *testing.T, from, server string) []exchange {
				out := p.programs(t, from, server, strings.NewReplacer("PORT", port, "$d", a.dir).Replace(calls))
				for i := range out {
					out[i].Body = seenFrom.ReplaceAllString(out[i].Body, "'@'ADDRESS'")
				}
				return out
			})
		})
		t.Run("pymysql:"+port, func(t *testing.T) {
			p.compare(t, "mariadb", all("plain-", mysqlTalk...)+", "+all("tls-", mysqlTalk...)+", wrong-password 0, tls-missing 0", p.databases("mysql", port, a.dir))
		})
	}
	p.secured(t, "mariadb")
}

// seenFrom is where MariaDB sees a user, which behind a sidecar is the sidecar.
var seenFrom = regexp.MustCompile(`'@'[0-9a-f.:]+'`)

var redisTalk = []string{"ping", "set", "pipeline", "transaction", "script", "scan", "stream", "error", "blocked", "published", "heard", "again"}

// TestServersRedis: redis-cli and redis-py call Redis in plaintext and by TLS, in both versions of its protocol.
func TestServersRedis(t *testing.T) {
	t.Parallel()
	versions(t, "redis-server --version", "redis-cli --version")
	a := certificates(t, "redis")
	p := startPairs(t, func(own string) realServer {
		return realServer{
			name: "redis", user: "nobody", ready: 6380,
			argv: []string{
				"redis-server", "--port", "6380", "--tls-port", "6379", "--dir", own, "--save", "", "--protected-mode", "no", "--bind", "*", "-::*",
				"--tls-cert-file", a.path("server.pem"), "--tls-key-file", a.path("server.key"), "--tls-ca-cert-file", a.path("ca.pem"), "--tls-auth-clients", "optional",
			},
			ports: "{name: redis, port: 6380}, {name: tls-redis, port: 6379}, {name: detected, port: 7380, targetPort: 6380}, {name: detected-tls, port: 7379, targetPort: 6379}",
		}
	})
	var commands strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&commands, "SET key%d value%d\r\n", i, i)
	}
	if err := os.WriteFile(a.path("commands.txt"), []byte(commands.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	const calls = `
ping redis-cli -h SERVER -p PORT TLS ping
mass redis-cli -h SERVER -p PORT TLS --pipe < $d/commands.txt
size redis-cli -h SERVER -p PORT TLS dbsize
value redis-cli -h SERVER -p PORT TLS -x set file < $d/numbers.txt
length redis-cli -h SERVER -p PORT TLS strlen file
got redis-cli -h SERVER -p PORT TLS get file
repeated redis-cli -h SERVER -p PORT TLS -r 50 incr counted
`
	for _, port := range []struct{ number, protocol, tls string }{
		{"6380", "redis", ""}, {"7380", "redis", ""}, {"6379", "rediss", "--tls --cacert " + a.path("ca.pem")}, {"7379", "rediss", "--tls --cacert " + a.path("ca.pem")},
	} {
		t.Run("redis-py:"+port.number, func(t *testing.T) {
			p.compare(t, "redis", all("resp2-", redisTalk...)+", "+all("resp3-", redisTalk...)+", auth 0", p.databases(port.protocol, port.number, a.dir))
		})
		t.Run("redis-cli:"+port.number, func(t *testing.T) {
			p.compare(t, "redis", "ping 0, mass 0, size 0, value 0, length 0, got 0, repeated 0", func(t *testing.T, from, server string) []exchange {
				p.programs(t, from, server, "flush redis-cli -h SERVER -p "+port.number+" "+port.tls+" flushall")
				out := p.programs(t, from, server, strings.NewReplacer("PORT", port.number, "TLS", port.tls, "$d", a.dir).Replace(calls))
				for i := range out { // a random one ends what is sent with --pipe
					out[i].Body = strings.TrimSpace(out[i].Body)
				}
				return out
			})
		})
	}
	p.secured(t, "redis")
}
