import { createPkce, NotFoundError, QuotaApiError, QuotaError, QuotaOAuthError, randomText } from "@usequota/core";
import type { NextRequest } from "next/server.js";
import { browserPath, nextBasePath } from "./base-path.ts";
import { apiClient, BASE_PATH, credentialsOf, EXTERNAL_USER_ID, oauthClient, type QuotaAuthConfig, type QuotaUser } from "./config.ts";
import { cookiesOf, fromText, open, type Signer, setCookie, sign, toText } from "./cookies.ts";

/** @internal The endpoints under `basePath`, by their last path segment. */
export const METHODS = {
  authorize: "GET",
  callback: "GET",
  status: "GET",
  me: "GET",
  packages: "GET",
  checkout: "POST",
  logout: "POST",
  disconnect: "POST",
} as const;
/** @internal */
export type EndpointName = keyof typeof METHODS;

const FLOW = "quota_flow_";
const FLOW_SECONDS = 10 * 60;
const SESSION_SECONDS = 30 * 24 * 60 * 60;
/** This attempt and the one before, such as in two tabs. */
const MOST_FLOWS = 2;
/**
 * Bytes of a Set-Cookie line. Browsers drop a cookie of more than 4,096, and proxies refuse
 * a Cookie header of more than 8 kB, in which both attempts and the app's own cookies stand.
 */
const LONGEST_FLOW_COOKIE = 3_072;

/** What is remembered in this browser between leaving for Quota and coming back. */
type Flow = { state: string; codeVerifier: string; returnTo: string; externalUserId: string | null };

/** What `status` answers. */
export interface QuotaStatus {
  connected: boolean;
  /** false when nobody is signed in to the app itself. */
  signedIn: boolean;
  user: QuotaUser | null;
  /** Where the person finds their wallet at Quota. */
  walletUrl: string;
}

/** @internal One request to one endpoint, answered. */
export async function answer(config: QuotaAuthConfig, name: EndpointName, request: NextRequest): Promise<Response> {
  const visit = visitOf(config, request);
  if (request.method !== METHODS[name])
    return failure(405, "method_not_allowed", "This path does not answer that method.", { allow: METHODS[name] });
  // Other sites can make a browser send a form here; what it says of its origin, they cannot change.
  if (METHODS[name] === "POST" && !fromOurselves(request, visit)) return failure(403, "cross_site", "Only pages of this app may do that.");
  try {
    return await endpoints[name](visit);
  } catch (error) {
    if (error instanceof QuotaApiError) return failure(error.status >= 500 ? 502 : error.status, error.code, error.message);
    if (error instanceof QuotaError) return failure(502, "unreachable", "Quota cannot be reached. Try again in a moment.");
    console.error(error);
    return failure(500, "internal_error", "Something went wrong in this app.");
  }
}

/** @internal Whose wallet a request may use: who the app says, and without an app's word whom the signed cookie names. */
export async function externalUserIdOf(config: QuotaAuthConfig, request: NextRequest): Promise<string | null> {
  if (!config.getExternalUserId) return cookieUserId(config, request);
  try {
    return (await config.getExternalUserId(request)) || null;
  } catch (error) {
    // Such as reading the user of a session that is not there. Nobody is the safe answer, and the site stays up.
    console.error("getExternalUserId failed, so nobody is signed in:", error);
    return null;
  }
}

/** @internal Whom the cookie names; null when it is absent, forged or over. */
export function cookieUserId(config: QuotaAuthConfig, request: Request): Promise<string | null> {
  return open(signerOf(config), EXTERNAL_USER_ID, cookiesOf(request).get(EXTERNAL_USER_ID));
}

/** @internal */
export function signerOf(config: QuotaAuthConfig): Signer {
  const { clientId, cookieSecret } = credentialsOf(config);
  return { clientId, secret: cookieSecret };
}

type Visit = {
  config: QuotaAuthConfig;
  request: NextRequest;
  /** The app's own address, as the browser knows it. */
  origin: string;
  secure: boolean;
  /** Where the endpoints are, as the browser knows it. */
  basePath: string;
  /** The app's home page, as the browser knows it, and what cookies for all of the app are for. */
  home: string;
  query: URLSearchParams;
};

function visitOf(config: QuotaAuthConfig, request: NextRequest): Visit {
  const origin = originOf(config, request);
  return {
    config,
    request,
    origin,
    secure: origin.startsWith("https:"),
    basePath: nextBasePath() + (config.basePath ?? BASE_PATH),
    home: nextBasePath() || "/",
    query: new URL(request.url).searchParams,
  };
}

/** @internal The app's own address: told, or what the browser asked for. */
export function originOf(config: QuotaAuthConfig, request: Request): string {
  const told = config.appUrl || process.env.QUOTA_APP_URL;
  return told ? new URL(told).origin : askedOrigin(request);
}

/** The address that the browser asked for. */
function askedOrigin(request: Request): string {
  const url = new URL(request.url);
  const host = first(request.headers.get("x-forwarded-host")) ?? request.headers.get("host") ?? url.host;
  const protocol = first(request.headers.get("x-forwarded-proto")) ?? url.protocol.slice(0, -1);
  // No browser sends another Host than it connects to, and Quota redirects to registered addresses only.
  return new URL(`${protocol}://${host}`).origin;
}

function first(list: string | null): string | undefined {
  return list?.split(",")[0]?.trim() || undefined;
}

function fromOurselves(request: Request, { origin }: Visit): boolean {
  // Said by the browser itself of the page and of this address, so it holds under any name of the app, such as that of a preview deployment.
  const site = request.headers.get("sec-fetch-site");
  if (site !== null) return site === "same-origin";
  // Browsers that do not say it, and those that ask over plain http.
  const from = request.headers.get("origin");
  return from !== null && (from === origin || from === askedOrigin(request));
}

const endpoints: Record<EndpointName, (visit: Visit) => Promise<Response>> = {
  /** Sends the person to Quota, and remembers in their browser what has to fit when they come back. */
  async authorize(visit) {
    const { config, request, query } = visit;
    const returnTo = ownPath(query.get("return_to"), visit);
    const externalUserId = config.getExternalUserId ? await externalUserIdOf(config, request) : null;
    if (config.getExternalUserId && externalUserId === null) {
      const signIn = new URL(ownPath(browserPath(config.signInPath ?? "/"), visit), visit.origin);
      signIn.searchParams.set("return_to", returnTo);
      return goTo(signIn.href);
    }
    const { codeVerifier, codeChallenge } = await createPkce();
    const state = randomText();
    const cookie = await flowCookieOf(visit, { state, codeVerifier, returnTo, externalUserId });
    // Each tab has its own attempt. Of those left unfinished the oldest go, before a header gets too long.
    const dropped = unfinishedFlows(request).slice(MOST_FLOWS - 1);
    const cookies = [cookie, ...dropped.map((name) => forget(visit, name, visit.basePath))];
    return goTo(oauthClient(config).authorizeUrl({ redirectUri: redirectUri(visit), state, codeChallenge }), cookies);
  },

  /** Takes the person back, when they left from this browser, as the same person, and came back from Quota. */
  async callback(visit) {
    const { config, request, query } = visit;
    const state = query.get("state") ?? "";
    const name = flowCookie(state);
    const flow = await readFlow(visit, cookiesOf(request).get(name));
    if (flow === null || flow.state !== state) return backWithError(visit, visit.home, "invalid_state");
    const over = [forget(visit, name, visit.basePath)];
    const refuse = (code: string) => backWithError(visit, flow.returnTo, code, over);
    const client = oauthClient(config);
    // RFC 9207: another authorization server must not be able to hand us its answer as Quota's.
    if (query.get("iss") !== client.baseUrl) return refuse("invalid_issuer");
    const error = query.get("error");
    if (error !== null) return refuse(error);
    const code = query.get("code");
    if (code === null) return refuse("invalid_request");
    const externalUserId = config.getExternalUserId ? await externalUserIdOf(config, request) : null;
    if (externalUserId !== flow.externalUserId) return refuse("user_changed");
    try {
      const link = await client.exchangeCode({
        code,
        codeVerifier: flow.codeVerifier,
        redirectUri: redirectUri(visit),
        storageMode: "hosted",
        externalUserId: externalUserId ?? undefined,
      });
      return goTo(visit.origin + flow.returnTo, [...over, await remember(visit, link.externalUserId)]);
    } catch (failed) {
      if (failed instanceof QuotaOAuthError) return refuse(failed.code);
      if (failed instanceof QuotaError) return refuse("temporarily_unavailable");
      throw failed;
    }
  },

  /** Whether a wallet is connected; never an error for somebody who has not connected one. */
  async status(visit) {
    const externalUserId = await externalUserIdOf(visit.config, visit.request);
    const user = externalUserId === null ? null : await findUser(visit.config, externalUserId);
    const status: QuotaStatus = {
      connected: user !== null,
      signedIn: visit.config.getExternalUserId === undefined || externalUserId !== null,
      user,
      walletUrl: `${oauthClient(visit.config).baseUrl}/wallet`,
    };
    return json(status, await freshCookie(visit, user));
  },

  async me(visit) {
    const externalUserId = await externalUserIdOf(visit.config, visit.request);
    const user = externalUserId === null ? null : await findUser(visit.config, externalUserId);
    if (user === null) return failure(401, "not_connected", "No wallet is connected.");
    return json({ user }, await freshCookie(visit, user));
  },

  async packages({ config }) {
    return json({ packages: await apiClient(config).listPackages() });
  },

  /** A page of Quota's where this person buys a package, and from which they come back to `return_to`. */
  async checkout(visit) {
    const externalUserId = await externalUserIdOf(visit.config, visit.request);
    if (externalUserId === null) return failure(401, "not_connected", "No wallet is connected.");
    const body = parsed<{ package_id?: unknown; return_to?: unknown }>(await visit.request.text());
    if (typeof body?.package_id !== "string") return failure(400, "bad_request", "package_id is missing.");
    const returnTo = ownPath(typeof body.return_to === "string" ? body.return_to : null, visit);
    const { url } = await apiClient(visit.config, externalUserId).createCheckout({
      packageId: body.package_id,
      returnUrl: visit.origin + returnTo,
    });
    return json({ url });
  },

  /** Forgets the person in this browser; the link stays. */
  async logout(visit) {
    return json({ success: true }, [forget(visit, EXTERNAL_USER_ID, visit.home)]);
  },

  /** Ends the link, for every browser. */
  async disconnect(visit) {
    const externalUserId = await externalUserIdOf(visit.config, visit.request);
    if (externalUserId === null) return failure(401, "not_connected", "No wallet is connected.");
    try {
      await apiClient(visit.config).unlinkUser(externalUserId);
    } catch (error) {
      // Gone already, which is what was asked for.
      if (!(error instanceof NotFoundError)) throw error;
    }
    return json({ success: true }, [forget(visit, EXTERNAL_USER_ID, visit.home)]);
  },
};

/** @internal The linked user under this id; null when there is none. */
export async function findUser(config: QuotaAuthConfig, externalUserId: string): Promise<QuotaUser | null> {
  try {
    const { user, linked_at, limit, spent } = await apiClient(config).getUser(externalUserId);
    return { externalUserId, ...user, ...(limit === undefined ? {} : { limit, spent }), linkedAt: linked_at };
  } catch (error) {
    if (error instanceof NotFoundError) return null;
    throw error;
  }
}

/** The same path on this app, or the home page for anything that would lead elsewhere. */
function ownPath(wanted: string | null, { origin, home }: Visit): string {
  if (wanted === null) return home;
  // A browser reads a backslash as a slash, and drops tabs and line breaks.
  if (!/^[\x20-\x7e]*$/.test(wanted) || wanted.includes("\\")) return home;
  let url: URL;
  try {
    url = new URL(wanted, origin);
  } catch {
    return home;
  }
  if (url.origin !== origin || url.pathname.startsWith("//")) return home;
  return url.pathname + url.search + url.hash;
}

function flowCookie(state: string): string {
  return FLOW + state.replace(/[^A-Za-z0-9_-]/g, "").slice(0, 16);
}

/**
 * The Set-Cookie line that remembers an attempt. A path that is too long for a cookie loses
 * its fragment, then its query: the person ends nearby, rather than with an attempt that
 * their browser did not keep.
 */
async function flowCookieOf(visit: Visit, flow: Flow): Promise<string> {
  const { returnTo } = flow;
  let line = "";
  for (const path of [returnTo, returnTo.replace(/#.*/, ""), returnTo.replace(/[?#].*/, ""), visit.home]) {
    // Not as it stands, because quotes and percent signs take three bytes each in a cookie.
    const text = toText(new TextEncoder().encode(JSON.stringify({ ...flow, returnTo: path })));
    const value = await sign(signerOf(visit.config), FLOW, text, FLOW_SECONDS);
    line = setCookie(flowCookie(flow.state), value, { ...visit, path: visit.basePath, maxAgeSeconds: FLOW_SECONDS });
    if (line.length <= LONGEST_FLOW_COOKIE) break;
  }
  return line;
}

async function readFlow(visit: Visit, cookie: string | undefined): Promise<Flow | null> {
  const text = await open(signerOf(visit.config), FLOW, cookie);
  // Anything else under a good signature is an attempt that an older version of this package began.
  return text === null || !/^[\w-]+$/.test(text) ? null : parsed<Flow>(new TextDecoder().decode(fromText(text)));
}

/** The names of the attempts in this browser that did not come back, the newest first. */
function unfinishedFlows(request: Request): string[] {
  const flows = [...cookiesOf(request)].filter(([name]) => name.startsWith(FLOW));
  // Browsers send those of one path in the order in which they were made (RFC 6265 §5.4), and the end within tells more surely.
  const endOf = (value: string) => Number(/\.(\d{1,12})\.[^.]*$/.exec(value)?.[1] ?? 0);
  return flows
    .reverse()
    .sort(([, one], [, other]) => endOf(other) - endOf(one))
    .map(([name]) => name);
}

function redirectUri({ origin, basePath }: Visit): string {
  return `${origin}${basePath}/callback`;
}

/** @internal */
export function forget(visit: { secure: boolean }, name: string, path: string): string {
  return setCookie(name, "", { maxAgeSeconds: 0, secure: visit.secure, path });
}

async function remember(visit: Visit, externalUserId: string): Promise<string> {
  const value = await sign(signerOf(visit.config), EXTERNAL_USER_ID, externalUserId, SESSION_SECONDS);
  return setCookie(EXTERNAL_USER_ID, value, { maxAgeSeconds: SESSION_SECONDS, secure: visit.secure, path: visit.home });
}

/** What the cookie has to become: gone when nobody is connected, named anew when it names another. */
async function freshCookie(visit: Visit, user: QuotaUser | null): Promise<string[]> {
  if (user !== null) {
    return (await cookieUserId(visit.config, visit.request)) === user.externalUserId ? [] : [await remember(visit, user.externalUserId)];
  }
  return cookiesOf(visit.request).has(EXTERNAL_USER_ID) ? [forget(visit, EXTERNAL_USER_ID, visit.home)] : [];
}

function backWithError(visit: Visit, path: string, code: string, cookies: string[] = []): Response {
  const url = new URL(path, visit.origin);
  url.searchParams.set("quota_error", code);
  return goTo(url.href, cookies);
}

/** Codes and states stand in addresses, which nobody shall keep or pass on. */
const PRIVATE = { "cache-control": "no-store", "referrer-policy": "no-referrer" };

function goTo(location: string, cookies: string[] = []): Response {
  return new Response(null, { status: 303, headers: withCookies({ ...PRIVATE, location }, cookies) });
}

function json(body: unknown, cookies: string[] = [], status = 200, headers: Record<string, string> = {}): Response {
  const all = withCookies({ ...PRIVATE, ...headers, "content-type": "application/json" }, cookies);
  return new Response(JSON.stringify(body), { status, headers: all });
}

function failure(status: number, code: string, message: string, headers: Record<string, string> = {}): Response {
  return json({ error: { code, message } }, [], status, headers);
}

function withCookies(init: Record<string, string>, cookies: string[]): Headers {
  const headers = new Headers(init);
  for (const cookie of cookies) headers.append("set-cookie", cookie);
  return headers;
}

function parsed<T>(text: string | null): T | null {
  try {
    return text === null ? null : (JSON.parse(text) as T | null);
  } catch {
    return null;
  }
}
