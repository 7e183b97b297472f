#!/bin/sh
# Makes the files that compose.yaml mounts as secrets, with random passwords, in docker/secrets or the given directory.
# Existing files stay. Only you can enter the directory. Its files are readable by all, because users of containers read
# them.
set -eu

directory=${1:-$(dirname "$0")/secrets}
mkdir -p "$directory"
chmod 700 "$directory"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

write() { # name, content
    [ -e "$directory/$1" ] || printf '%s\n' "$2" > "$directory/$1"
    chmod 644 "$directory/$1"
}

write postgres_password "$(random)"
write nightreel_database_url "postgresql://nightreel:$(cat "$directory/postgres_password")@postgres:5432/nightreel"
write grafana_password "$(random)"

if [ ! -e "$directory/s3.json" ] || [ ! -e "$directory/aws_credentials" ]; then
    key=$(random) secret=$(random)
    rm -f "$directory/s3.json" "$directory/aws_credentials"
    write aws_credentials "[default]
aws_access_key_id = $key
aws_secret_access_key = $secret"
    write s3.json "{\"identities\": [{\"name\": \"nightreel\", \"actions\": [\"Admin\", \"Read\", \"Write\", \"List\"],
  \"credentials\": [{\"accessKey\": \"$key\", \"secretKey\": \"$secret\"}]}]}"
fi
