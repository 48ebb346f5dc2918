import { createHash, randomBytes } from "node:crypto";
import { hashPassword } from "../src/server/people/passwords.ts";
import type { Database } from "../src/server/platform/db.ts";
import { mintSecret } from "../src/server/platform/secrets.ts";
import { makeApp, makeKey, makeUser } from "../src/testing/makers.ts";
import type { ServerProcess } from "../src/testing/server-process.ts";

/** The server's configured address, for cookies and redirects. */
export function originOf(server: Pick<ServerProcess, "url">): string {
  return server.url.replace("127.0.0.1", "localhost");
}

export type Person = { id: string; email: string; password: string; walletId: string };

/** A user with a password. */
export async function makePerson(db: Database, options: { credits?: bigint } = {}): Promise<Person> {
  const password = randomBytes(12).toString("hex");
  const user = await makeUser(db, { credits: options.credits ?? 1_000_000n, passwordHash: await hashPassword(password) });
  return { ...user, password };
}

export type Client = Awaited<ReturnType<typeof makeClient>>;

/** An app with its OAuth client and an API key. */
export async function makeClient(
  db: Database,
  options: { redirectUris?: string[]; publicClient?: boolean; markupBps?: number; name?: string } = {},
) {
  const app = await makeApp(db, { markupBps: options.markupBps ?? 0 });
  const { secret, hash } = mintSecret("quota_secret_");
  const redirectUris = options.redirectUris ?? ["http://localhost:4000/callback"];
  await db.prisma.app.update({
    where: { id: app.id },
    data: {
      clientSecretHash: hash,
      redirectUris,
      publicClient: options.publicClient ?? false,
      ...(options.name === undefined ? {} : { name: options.name }),
    },
  });
  const key = await makeKey(db, app.id);
  return { appId: app.id, clientId: app.clientId, secret, redirectUri: redirectUris[0] as string, key: key.secret };
}

/** An app of the demo's developer with an API key, made through the dashboard's API: for servers whose database is their own. */
export async function registerApp(
  server: ServerProcess,
  { name, ...settings }: { name: string; redirectUris: string[]; markupBps: number },
): Promise<Client> {
  const developer = new Visitor(server);
  await developer.signIn(server.demo.developer);
  const mutate = async (procedure: string, input: unknown) => {
    const answer = await developer.postJson(`/api/trpc/${procedure}`, { json: input });
    if (!answer.ok) throw new Error(`${procedure}: ${answer.status} ${await answer.text()}`);
    // biome-ignore lint/suspicious/noExplicitAny: the procedure's own type is in another tree.
    return ((await answer.json()) as { result: { data: { json: any } } }).result.data.json;
  };
  const { app, clientSecret } = await mutate("apps.create", { name });
  await mutate("apps.update", { appId: app.id, ...settings });
  const { secret } = await mutate("apiKeys.mint", { appId: app.id, name, billingMode: "user" });
  return { appId: app.id, clientId: app.clientId, secret: clientSecret, redirectUri: settings.redirectUris[0] as string, key: secret };
}

export function pkce(): { verifier: string; challenge: string } {
  const verifier = randomBytes(32).toString("base64url");
  return { verifier, challenge: createHash("sha256").update(verifier).digest("base64url") };
}

/** An app's authorization link; `over` replaces parameters, and undefined removes one. */
export function authorizeUrl(
  server: Pick<ServerProcess, "url">,
  client: Client,
  challenge: string,
  over: Record<string, string | undefined> = {},
): string {
  const url = new URL("/oauth/authorize", originOf(server));
  const parameters = {
    client_id: client.clientId,
    redirect_uri: client.redirectUri,
    response_type: "code",
    state: "the-state",
    code_challenge: challenge,
    code_challenge_method: "S256",
    ...over,
  };
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) url.searchParams.set(name, value);
  return url.href;
}

/** A browser without a screen: it keeps cookies by path, and does not follow redirects. */
export class Visitor {
  readonly #cookies = new Map<string, { name: string; value: string; path: string }>();
  readonly #origin: string;

  constructor(server: Pick<ServerProcess, "url">) {
    this.#origin = originOf(server);
  }

  async get(url: string, headers: Record<string, string> = {}): Promise<Response> {
    return this.#send(url, { headers });
  }

  async post(url: string, form: Record<string, string> | [string, string][], headers: Record<string, string> = {}): Promise<Response> {
    return this.#send(url, { method: "POST", body: new URLSearchParams(form), headers });
  }

  async postJson(url: string, body: unknown): Promise<Response> {
    return this.#send(url, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
  }

  async request(method: string, url: string, headers: Record<string, string>): Promise<Response> {
    return this.#send(url, { method, headers });
  }

  async signIn(person: Pick<Person, "email" | "password">): Promise<void> {
    const { csrfToken } = (await (await this.get("/api/auth/csrf")).json()) as { csrfToken: string };
    const answer = await this.post("/api/auth/callback/credentials", {
      csrfToken,
      email: person.email,
      password: person.password,
      json: "true",
      callbackUrl: this.#origin,
    });
    if (![...this.#cookies.values()].some(({ name }) => name.includes("session-token")))
      throw new Error(`no session: ${answer.status} ${await answer.text()}`);
  }

  /** Another browser with a copy of the cookies. */
  copy(): Visitor {
    const other = new Visitor({ url: this.#origin });
    for (const [key, cookie] of this.#cookies) other.#cookies.set(key, { ...cookie });
    return other;
  }

  /** Signs out as the button does: the server ends the session, and the browser deletes its cookie. */
  async endSession(): Promise<Response> {
    const { csrfToken } = (await (await this.get("/api/auth/csrf")).json()) as { csrfToken: string };
    return this.post("/api/auth/signout", { csrfToken, json: "true", callbackUrl: this.#origin });
  }

  /** Deletes the cookie without a request. */
  signOut(): void {
    for (const [key, { name }] of this.#cookies) if (name.includes("session-token")) this.#cookies.delete(key);
  }

  /** Opens an app's link; returns the path of the consent page. */
  async begin(url: string): Promise<string> {
    const answer = await this.get(url);
    const location = answer.headers.get("location");
    if (answer.status !== 303 || !location?.startsWith("/connect/"))
      throw new Error(`no consent page: ${answer.status} ${location} ${await answer.text()}`);
    return location;
  }

  /** The token in the consent page's form. */
  async token(page: string): Promise<string> {
    const answer = await this.get(page);
    const html = await answer.text();
    const token = /name="token" value="([^"]+)"/.exec(html)?.[1];
    if (token === undefined) throw new Error(`no form: ${answer.status} ${answer.headers.get("location")} ${html.slice(0, 500)}`);
    return token;
  }

  /** Submits the consent page's form; returns the address at the app. */
  async decide(page: string, form: Record<string, string> | [string, string][] = { decision: "allow", limited: "no" }): Promise<URL> {
    const fields = Array.isArray(form) ? form : Object.entries(form);
    const answer = await this.post(`${page}/decision`, [...fields, ["token", await this.token(page)]]);
    return this.resume(answer);
  }

  /** Follows the redirects after a decision, to the app. */
  async resume(answer: Response): Promise<URL> {
    const location = answer.headers.get("location");
    if (answer.status !== 303 || !location?.includes("/oauth/authorize/"))
      throw new Error(`not decided: ${answer.status} ${location} ${await answer.text()}`);
    const back = await this.get(location);
    if (back.status !== 303) throw new Error(`not resumed: ${back.status} ${await back.text()}`);
    return new URL(back.headers.get("location") as string, this.#origin);
  }

  async #send(url: string, init: RequestInit & { headers: Record<string, string> }): Promise<Response> {
    const { pathname, href } = new URL(url, this.#origin);
    const cookies = [...this.#cookies.values()].filter(
      ({ path }) => pathname === path || pathname.startsWith(path.endsWith("/") ? path : `${path}/`),
    );
    const answer = await fetch(href, {
      ...init,
      redirect: "manual",
      headers: { accept: "text/html,*/*;q=0.8", cookie: cookies.map(({ name, value }) => `${name}=${value}`).join("; "), ...init.headers },
    });
    for (const line of answer.headers.getSetCookie()) {
      const [pair = "", ...attributes] = line.split(/; */);
      const name = pair.slice(0, pair.indexOf("="));
      const path = attributes.find((each) => /^path=/i.test(each))?.slice(5) ?? "/";
      const gone = attributes.some((each) => /^expires=.*1970/i.test(each) || /^max-age=0$/i.test(each));
      if (gone) this.#cookies.delete(`${name} ${path}`);
      else this.#cookies.set(`${name} ${path}`, { name, value: pair.slice(name.length + 1), path });
    }
    return answer;
  }
}

/** A code for an app, after `person` consented in a new browser. */
export async function codeFor(
  server: Pick<ServerProcess, "url">,
  person: Person,
  client: Client,
  options: { authorize?: Record<string, string | undefined>; form?: [string, string][] } = {},
): Promise<{ code: string; verifier: string; back: URL }> {
  const visitor = new Visitor(server);
  await visitor.signIn(person);
  const { verifier, challenge } = pkce();
  const page = await visitor.begin(authorizeUrl(server, client, challenge, options.authorize));
  const back = await visitor.decide(
    page,
    options.form ?? [
      ["decision", "allow"],
      ["limited", "no"],
    ],
  );
  const code = back.searchParams.get("code");
  if (code === null) throw new Error(`no code: ${back.href}`);
  return { code, verifier, back };
}

// biome-ignore lint/suspicious/noExplicitAny: a test asserts on whatever came
export type TokenAnswer = { status: number; headers: Headers; json: any };

/** A request of an app to the authorization server, with HTTP Basic when the client has a secret. */
export async function formPost(
  server: Pick<ServerProcess, "url">,
  path: string,
  client: Client,
  form: Record<string, string> | [string, string][],
  options: { auth?: "basic" | "post" | "none"; secret?: string; headers?: Record<string, string> } = {},
): Promise<TokenAnswer> {
  const auth = options.auth ?? "basic";
  const secret = options.secret ?? client.secret;
  const body = new URLSearchParams(form);
  if (auth !== "basic") body.set("client_id", client.clientId);
  if (auth === "post") body.set("client_secret", secret);
  const answer = await fetch(originOf(server) + path, {
    method: "POST",
    body,
    headers: {
      ...(auth === "basic"
        ? { authorization: `Basic ${btoa(`${encodeURIComponent(client.clientId)}:${encodeURIComponent(secret)}`)}` }
        : {}),
      ...options.headers,
    },
  });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, json: text === "" ? null : JSON.parse(text) };
}

/** Redeems a code; `over` adds form fields. */
export function redeem(
  server: Pick<ServerProcess, "url">,
  client: Client,
  issued: { code: string; verifier: string },
  over: Record<string, string> = {},
  options: Parameters<typeof formPost>[4] = {},
): Promise<TokenAnswer> {
  return formPost(
    server,
    "/oauth/token",
    client,
    { grant_type: "authorization_code", code: issued.code, code_verifier: issued.verifier, redirect_uri: client.redirectUri, ...over },
    options,
  );
}

export const HOSTED = { storage_mode: "hosted" };

/** Introspection's whole answer for an invalid token or another app's. */
export const INACTIVE = { active: false };

/** The tokens of an app that keeps them itself. */
export async function tokens(
  server: ServerProcess & { db: Database },
  scope = "openid email credits.read credits.spend",
  options: { client?: Client; person?: Person; authorize?: Record<string, string> } = {},
) {
  const person = options.person ?? (await makePerson(server.db));
  const client = options.client ?? (await makeClient(server.db));
  const issued = await codeFor(server, person, client, { authorize: { scope, ...options.authorize } });
  const answer = await redeem(server, client, issued);
  if (answer.status !== 200) throw new Error(`no tokens: ${answer.status} ${JSON.stringify(answer.json)}`);
  return { person, client, issued, ...(answer.json as { access_token: string; refresh_token: string; id_token?: string; scope: string }) };
}

export const refresh = (server: ServerProcess, client: Client, refreshToken: string, over: Record<string, string> = {}) =>
  formPost(server, "/oauth/token", client, { grant_type: "refresh_token", refresh_token: refreshToken, ...over });

export const introspect = async (server: ServerProcess, client: Client, token: string) =>
  (await formPost(server, "/oauth/introspect", client, { token })).json;

export const userinfo = (server: ServerProcess, token: string) =>
  fetch(`${originOf(server)}/oauth/userinfo`, { headers: { authorization: `Bearer ${token}` } });

/** The server's answer to an app's link in a browser without cookies. */
export async function opened(server: ServerProcess, url: string) {
  const answer = await new Visitor(server).get(url);
  return { status: answer.status, location: answer.headers.get("location"), html: await answer.text() };
}
