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

for name in postgres_password postgres_owner_password postgres_worker_password postgres_analyst_password \
    postgres_console_password postgres_prefect_password \
    prefect_password grafana_password; do
    write "$name" "$(random)"
done
write prefect_api_auth_string "nightreel:$(cat "$directory/prefect_password")"

write nightreel_tombstone_key "$(random)"

url() { echo "postgresql://$1:$(cat "$directory/$2")@postgres:5432/nightreel"; }

# The URL that older versions wrote is that of the superuser: workers no longer use it.
if [ "$(cat "$directory/nightreel_database_url" 2> /dev/null)" = "$(url nightreel postgres_password)" ]; then
    rm "$directory/nightreel_database_url"
fi
write nightreel_database_url "$(url nightreel_worker postgres_worker_password)"
write nightreel_database_console_url "$(url nightreel_console postgres_console_password)"
write nightreel_database_owner_url "$(url nightreel_owner postgres_owner_password)"

if [ ! -e "$directory/s3.json" ] || [ ! -e "$directory/aws_credentials" ]; then
    key=$(random) secret=$(random)
    rm -f "$directory/s3.json" "$directory/aws_credentials"
    write aws_credentials "[default]
aws_access_key_id = $key
aws_secret_access_key = $secret"
    write s3.json "{\"identities\": [{\"name\": \"nightreel\", \"actions\": [\"Admin\", \"Read\", \"Write\", \"List\"],
  \"credentials\": [{\"accessKey\": \"$key\", \"secretKey\": \"$secret\"}]}]}"
fi
