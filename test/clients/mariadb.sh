#!/bin/sh
# A new MariaDB server: mariadb.sh OWN CERTIFICATES. OWN is a directory of its own. It takes connections with TLS and without.
set -eu
own=$1 certificates=$2
mariadb-install-db --no-defaults --datadir="$own/data" --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve >/dev/null
cat >"$own/init.sql" <<END
create user story identified by 'secret';
grant all on *.* to story with grant option;
create user tlsonly identified by 'secret' require ssl;
create database story;
END
exec mariadbd --no-defaults --datadir="$own/data" --tmpdir="$own" --socket="$own/s" --pid-file="$own/pid" --port=3306 --bind-address='*' \
	--skip-name-resolve --init-file="$own/init.sql" --max-allowed-packet=64M --local-infile=1 --max-connect-errors=1000000 --innodb-buffer-pool-size=16M \
	--innodb-log-file-size=64M --innodb-flush-log-at-trx-commit=0 --performance-schema=0 --ssl-cert="$certificates/server.pem" --ssl-key="$certificates/server.key" --ssl-ca="$certificates/ca.pem"
