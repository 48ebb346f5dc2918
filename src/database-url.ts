/**
 * How each parameter of a Postgres address that users paste is treated. `docs/operating.md` has
 * the same list.
 */
const OBEYED = new Set([
  "application_name",
  "host",
  "options",
  "password",
  "port",
  "ssl",
  "sslcert",
  "sslkey",
  "sslnegotiation",
  "sslrootcert",
  "uselibpqcompat",
  "user",
]);

/** Parameters of other clients that Quota does not need, or sets by a setting of its own. */
const IGNORED = new Set([
  "channel_binding",
  "connect_timeout",
  "connection_limit",
  "gssencmode",
  "keepalives",
  "keepalives_count",
  "keepalives_idle",
  "keepalives_interval",
  "max_idle_connection_lifetime",
  "pgbouncer",
  "pool_timeout",
  "pooler",
  "single_use_connections",
  "socket_timeout",
  "sslaccept",
  "statement_cache_size",
  "supa",
  "target_session_attrs",
  "workaround",
]);

/**
 * The address of a Postgres for the driver, without the ignored parameters. Throws an error, whose
 * message has no password, when the text is no such address or has a parameter that matters and is
 * not supported.
 */
export function databaseUrl(text: string): string {
  const [address = "", query, ...more] = text.split("?");
  // With `host=` in the query, such as for a socket, the address may have no host.
  const parsed: URL | null = /^postgres(ql)?:\/\//.test(address)
    ? (URL.parse(address) ?? URL.parse(address.replace("@/", "@socket/")))
    : null;
  if (
    parsed === null ||
    parsed.hostname.includes(",") ||
    more.length > 0 ||
    text.includes("#") ||
    !decodes(parsed.username) ||
    !decodes(parsed.password)
  )
    throw new Error(
      "is not an address such as postgresql://user:password@host:5432/database (characters like @ / ? # % in a password are written as %40 %2F %3F %23 %25)",
    );
  const parameters = new URLSearchParams(query ?? "");
  for (const name of new Set(parameters.keys())) {
    const values = parameters.getAll(name);
    const value = values[0] ?? "";
    if (values.length > 1) throw new Error(`has the parameter ${name} twice`);
    if (IGNORED.has(name) || (name === "schema" && value === "public")) parameters.delete(name);
    else if (name === "schema")
      throw new Error("has schema=, and Quota keeps its tables in the schema public: give it a database of its own, and leave schema out");
    else if (name === "options" && /search_path/i.test(value))
      throw new Error("has a search_path in options=, and Quota keeps its tables in the schema public: leave it out");
    else if (name === "sslmode") parameters.set(name, sslMode(value, parameters.get("uselibpqcompat") === "true"));
    else if (!OBEYED.has(name))
      throw new Error(`has the parameter ${shown(name)}, which Quota does not know: docs/operating.md lists those that it does`);
  }
  return parameters.size === 0 ? address : `${address}?${parameters}`;
}

/** The driver's next major version reads `require` as "encrypt without verifying"; this keeps verifying. */
function sslMode(value: string, asLibpq: boolean): string {
  if (["disable", "no-verify", "verify-full"].includes(value)) return value;
  if (["require", "verify-ca"].includes(value)) return asLibpq ? value : "verify-full";
  throw new Error(
    `has sslmode=${shown(value)}, which does not say whether to encrypt: write verify-full (encrypts, and checks the certificate), no-verify (encrypts) or disable`,
  );
}

/** The text when it looks like a parameter's name; else not, because it may be a part of a password in a mistyped address. */
function shown(text: string): string {
  return /^[a-z_-]{1,40}$/i.test(text) ? text : "with a name that is no name";
}

function decodes(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
