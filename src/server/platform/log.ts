import { env } from "#env";

/**
 * Writes one JSON object a line to stderr. Never pass a credential; as a second guard,
 * text that looks like a credential is cut out of every line.
 */
type Fields = Record<string, unknown>;

export const log = {
  info: (message: string, fields: Fields = {}) => {
    if (!env.QUOTA_QUIET) write("info", message, fields);
  },
  warn: (message: string, fields: Fields = {}) => write("warn", message, fields),
  error: (message: string, fields: Fields = {}) => write("error", message, fields),
};

function write(level: string, message: string, fields: Fields): void {
  const line = JSON.stringify({ time: new Date().toISOString(), level, message, ...fields }, plain);
  process.stderr.write(`${line.replace(SECRETS, "$1…")}\n`);
}

const SECRETS = /\b(sk-quota-|quota_secret_|whsec_|sk-|Bearer )[A-Za-z0-9+/_=-]{8,}/g;

function plain(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Error) {
    return {
      name: value.name,
      message: value.message,
      stack: value.stack,
      // Only of our own errors: the `detail` of Postgres's errors repeats the row, with users' data.
      detail: value.name === "AppError" ? (value as { detail?: unknown }).detail : undefined,
      cause: value.cause,
    };
  }
  return value;
}
