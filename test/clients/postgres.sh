#!/bin/sh
# A new PostgreSQL server: postgres.sh OWN CERTIFICATES. OWN is a directory of its own. It takes connections with TLS and
# without, passwords, and for one user a certificate.
set -eu
own=$1 certificates=$2
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
install -m 600 "$certificates/server.key" "$own/server.key"
echo secret >"$own/password"
"$bin/initdb" --pgdata="$own/data" --username=story --auth=scram-sha-256 --pwfile="$own/password" --no-locale --encoding=UTF8 --no-sync >/dev/null
cat >"$own/data/pg_hba.conf" <<END
hostssl all certified all cert
hostssl all tlsonly all scram-sha-256
host all story all scram-sha-256
END
"$bin/postgres" --single -D "$own/data" postgres >/dev/null <<END
create role certified login superuser
create role tlsonly login password 'secret'
END
exec "$bin/postgres" -D "$own/data" -c "listen_addresses=*" -c port=5432 -c unix_socket_directories= -c fsync=off -c shared_buffers=16MB \
	-c ssl=on -c ssl_cert_file="$certificates/server.pem" -c ssl_key_file="$own/server.key" -c ssl_ca_file="$certificates/ca.pem" -c log_min_messages=fatal
