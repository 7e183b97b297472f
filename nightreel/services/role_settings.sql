-- Settings with which the sessions of people and of the web service start. A session can change them, except
-- temp_file_limit: they keep mistakes short, not attackers out. The superuser runs it: at a start of the embedded
-- Postgres, and in containers (docker/postgres/roles.sql).
ALTER ROLE nightreel_analyst SET search_path = reporting;
ALTER ROLE nightreel_analyst SET default_transaction_read_only = on;
ALTER ROLE nightreel_analyst SET statement_timeout = '2min';
ALTER ROLE nightreel_analyst SET idle_in_transaction_session_timeout = '2min';
ALTER ROLE nightreel_analyst SET idle_session_timeout = '12h';
ALTER ROLE nightreel_analyst SET temp_file_limit = '4GB';
ALTER ROLE nightreel_console SET search_path = reporting;
ALTER ROLE nightreel_console SET statement_timeout = '30s';
ALTER ROLE nightreel_console SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE nightreel_console SET temp_file_limit = '4GB';
-- A merge join reads both tables from their start, although a page of a view starts in the middle of one.
ALTER ROLE nightreel_analyst SET enable_mergejoin = off;
ALTER ROLE nightreel_console SET enable_mergejoin = off;
