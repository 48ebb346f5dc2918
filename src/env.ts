import { existsSync } from "node:fs";
import { z } from "zod";
import { databaseUrl } from "./database-url.ts";

/**
 * Every environment variable that Quota reads, parsed once. `.env.example` has those that most
 * operators set; a copy of it runs without changes.
 */

const milliseconds = z.coerce.number().int().positive();
const optionalText = z
  .string()
  .optional()
  .transform((text) => (text === undefined || text.trim() === "" ? undefined : text.trim()));
const flag = z
  .enum(["0", "1", ""])
  .optional()
  .transform((value) => value === "1");

/** Text parsed by `read`; the message of an error that `read` throws is the message for the operator. */
const readBy = (read: (text: string) => string) =>
  optionalText.transform((text, context) => {
    try {
      return text === undefined ? undefined : read(text);
    } catch (error) {
      context.addIssue({ code: "custom", message: error instanceof Error ? error.message : String(error) });
      return z.NEVER;
    }
  });
/** Scheme, host and port, normalized as browsers do. Paths are appended to it, and origins are compared with it. */
const httpOrigin = (example: string) =>
  readBy((text) => {
    const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
    // A "?" or "#" with nothing after it is lost in parsing, so the text itself is tested.
    if (url === null || /[?#@\\]/.test(text) || url.pathname !== "/")
      throw new Error(`is not an address of scheme and host alone, such as ${example}`);
    return url.origin;
  });
/** The base address of an API; paths are appended to it. */
const apiAddress = readBy((text) => {
  const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
  if (url === null || /[?#\\]/.test(text) || url.username !== "" || url.password !== "")
    throw new Error("is not an http or https address without a query and without a password, such as http://localhost:11434/v1");
  return text;
});

const schema = z.object({
  NODE_ENV: z.enum(["development", "production", "test"]).default("production"),

  /** Address the server listens on. The default keeps a first try private to this machine. */
  HOST: z.string().default("127.0.0.1"),
  PORT: z.coerce.number().int().min(0).max(65535).default(3000),
  /** The address under which browsers and apps reach this server, without a path; default http://localhost:PORT. */
  QUOTA_URL: httpOrigin("https://quota.example.com"),

  /** A Postgres 15 or newer. Without it an embedded database under QUOTA_DATA_DIR is used. docs/operating.md says which parameters it may have. */
  DATABASE_URL: readBy(databaseUrl),
  /** Connections for everything but the ledger's holds and settlements, which have connections of their own. */
  DATABASE_POOL_SIZE: z.coerce.number().int().positive().default(10),
  /** The folder of the embedded database, of demo.json and of settlements that the database has not taken yet: on a disk that survives a restart. */
  QUOTA_DATA_DIR: z.string().default(".quota"),
  /** 1 makes demo data on a Postgres too. The embedded database always has it; 0 leaves it out. */
  QUOTA_DEMO: z.enum(["0", "1"]).optional(),
  /** Signs sessions and encrypts stored secrets. Without it the first server makes a random one and stores it in the database. */
  NEXTAUTH_SECRET: optionalText,

  /** Credits in the wallet of a new user; 1,000,000 are one dollar. */
  QUOTA_WELCOME_CREDITS: z.coerce.number().int().min(0).max(1_000_000_000_000).default(1_000_000),
  /**
   * The mail server, such as smtps://user:password@mail.example.com. Without it mails are
   * written to the output in development and on the embedded database; elsewhere they are not
   * sent, so no user can sign up by email or reset a password.
   */
  SMTP_URL: optionalText.refine(
    (address) => address === undefined || /^smtps?:$/.test(URL.parse(address)?.protocol ?? ""),
    "is not an address such as smtps://user:password@mail.example.com",
  ),
  /** The sender of mails; by default no-reply at the host of QUOTA_URL. */
  QUOTA_MAIL_FROM: optionalText,
  /** Signing in with Google: the OAuth client; its redirect URI is QUOTA_URL/api/auth/callback/google. */
  GOOGLE_CLIENT_ID: optionalText,
  GOOGLE_CLIENT_SECRET: optionalText,
  /** Signing in with GitHub: the OAuth app; its callback URL is QUOTA_URL/api/auth/callback/github. */
  GITHUB_CLIENT_ID: optionalText,
  GITHUB_CLIENT_SECRET: optionalText,

  /** The top-ups that are sold, in dollars, separated by commas. */
  QUOTA_PACKAGES: z
    .string()
    .default("5,10,25,50")
    .transform((text, context) => {
      const dollars = text.split(",").map((each) => each.trim());
      const cents = dollars.map((each) => (/^\d{1,4}(\.\d{2})?$/.test(each) ? Math.round(Number(each) * 100) : 0));
      // Stripe charges at least 50 cents.
      if (cents.some((each) => each < 50) || new Set(cents).size < cents.length)
        context.addIssue({ code: "custom", message: "is not a list of different amounts from 0.50 on, such as 5,10,25,50" });
      return cents;
    }),
  /** The secret key of the Stripe account that takes payments. See docs/payments.md. */
  STRIPE_SECRET_KEY: optionalText,
  /** Verifies what Stripe sends to QUOTA_URL/api/stripe/webhook; without it every event is refused. */
  STRIPE_WEBHOOK_SECRET: optionalText,
  /** Another address for Stripe's API, such as http://127.0.0.1:12111, for tests. */
  STRIPE_API_URL: httpOrigin("http://127.0.0.1:12111"),
  /** Time limit of one call to Stripe, in milliseconds; a call is tried up to three times. */
  QUOTA_STRIPE_TIMEOUT_MS: milliseconds.default(10_000),
  /**
   * The sandbox checkout, a page of our own where no money moves, while there is no
   * STRIPE_SECRET_KEY. auto: in development, and on the embedded database while no provider is
   * configured; elsewhere any user could give themselves credits that you pay a provider for. on:
   * everywhere. off: never.
   */
  QUOTA_SANDBOX_CHECKOUT: z.enum(["auto", "on", "off"]).default("auto"),
  /** A user gets a mail when the balance falls below this many credits; 0 for never. */
  QUOTA_LOW_BALANCE_CREDITS: z.coerce.number().int().min(0).max(1_000_000_000_000).default(500_000),

  /** Requests a minute for one API key, counted by each server process. */
  QUOTA_RATE_LIMIT_PER_MINUTE: z.coerce.number().int().positive().default(600),
  /**
   * Requests a minute for one user of an app: the user that X-Quota-User names, or all access tokens of one
   * user. By default a fifth of a key's limit, but at least 60, or all of it where that is less.
   */
  QUOTA_RATE_LIMIT_PER_USER_PER_MINUTE: z.coerce.number().int().positive().optional(),
  /** Requests a minute from one IP address to /oauth/authorize, and as many to /oauth/token, counted by each server process. */
  QUOTA_OAUTH_RATE_LIMIT_PER_MINUTE: z.coerce.number().int().positive().default(600),
  /** Connections that each server process accepts at a time. */
  QUOTA_MAX_CONNECTIONS: z.coerce.number().int().positive().default(10_000),
  /** The largest request body, in bytes. */
  QUOTA_MAX_BODY_BYTES: z.coerce
    .number()
    .int()
    .positive()
    .default(10 * 1024 * 1024),
  /** How long a provider may take to begin its answer, in milliseconds. */
  QUOTA_UPSTREAM_HEADERS_TIMEOUT_MS: milliseconds.default(300_000),
  /** How long a provider may pause within an answer, in milliseconds. */
  QUOTA_UPSTREAM_IDLE_TIMEOUT_MS: milliseconds.default(120_000),
  /** How long one request may take in all, in milliseconds; the sweeper returns older holds. */
  QUOTA_REQUEST_TIMEOUT_MS: milliseconds.default(600_000),
  /** How long a request waits for credits that other requests of the same payer hold, in milliseconds, before it is answered 429; 0: not at all. */
  QUOTA_HOLD_WAIT_MS: z.coerce.number().int().min(0).max(600_000).default(10_000),
  /** Proxies in front of the server, each of which appends its client's address to X-Forwarded-For. 0: the header is ignored and the connection's address counts. */
  QUOTA_TRUSTED_PROXIES: z.coerce.number().int().min(0).max(10).default(0),
  /** Server processes on one port and one Postgres; about one for each core that Postgres does not need. */
  QUOTA_PROCESSES: z.coerce.number().int().min(1).max(64).default(1),
  /** How long a stopping server waits for requests under way, in milliseconds. */
  QUOTA_SHUTDOWN_TIMEOUT_MS: milliseconds.default(30_000),

  /** 1 lets webhooks go to this machine's loopback address, for development and tests; other private addresses are never called. */
  QUOTA_WEBHOOK_ALLOW_LOOPBACK: flag,
  /** How long one delivery to a webhook's receiver may take, in milliseconds. */
  QUOTA_WEBHOOK_TIMEOUT_MS: milliseconds.default(10_000),
  /** The wait before the second attempt in milliseconds; each later wait is three times as long, and at most 4,320 times as long as the first. */
  QUOTA_WEBHOOK_FIRST_RETRY_MS: milliseconds.default(10_000),

  /**
   * The simulator answers requests while no provider is configured. auto: only on the embedded
   * database and with demo data, because elsewhere it would bill real credits for made-up
   * answers. on: everywhere. off: only for `test` keys.
   */
  QUOTA_SIMULATOR: z.enum(["auto", "on", "off"]).default("auto"),
  /** Words a second that the simulator streams; 0 means as fast as it can. */
  QUOTA_SIMULATOR_TOKENS_PER_SECOND: z.coerce.number().min(0).default(60),
  /** A JSON file with models of your own, see docs/providers.md. */
  QUOTA_MODELS_FILE: optionalText,
  /** Keys and addresses of the providers, see docs/providers.md. A provider counts as configured when its key (for Ollama and vLLM: its address) is set. */
  OPENAI_API_KEY: optionalText,
  OPENAI_BASE_URL: apiAddress,
  GEMINI_API_KEY: optionalText,
  GEMINI_BASE_URL: apiAddress,
  ANTHROPIC_API_KEY: optionalText,
  ANTHROPIC_BASE_URL: apiAddress,
  MISTRAL_API_KEY: optionalText,
  MISTRAL_BASE_URL: apiAddress,
  GROQ_API_KEY: optionalText,
  GROQ_BASE_URL: apiAddress,
  DEEPSEEK_API_KEY: optionalText,
  DEEPSEEK_BASE_URL: apiAddress,
  XAI_API_KEY: optionalText,
  XAI_BASE_URL: apiAddress,
  OPENROUTER_API_KEY: optionalText,
  OPENROUTER_BASE_URL: apiAddress,
  OLLAMA_API_KEY: optionalText,
  OLLAMA_BASE_URL: apiAddress,
  VLLM_API_KEY: optionalText,
  VLLM_BASE_URL: apiAddress,

  /** 1 silences the log lines of each request. */
  QUOTA_QUIET: flag,
});

export type Env = z.infer<typeof schema>;

export function parseEnv(source: Record<string, string | undefined>): Env {
  const parsed = schema.safeParse(source);
  if (parsed.success) return parsed.data;
  const lines = parsed.error.issues.map((issue) => `  ${issue.path.join(".")}: ${issue.message}`);
  throw new Error(`The environment has values that Quota cannot use:\n${lines.join("\n")}`);
}

// A file named .env in the working directory sets variables that the environment does not; tests
// do not read it.
if (process.env.NODE_ENV !== "test" && existsSync(".env")) process.loadEnvFile(".env");

export const env: Env = parseEnv(process.env);

export function publicUrl(): string {
  return env.QUOTA_URL ?? `http://localhost:${env.PORT}`;
}
