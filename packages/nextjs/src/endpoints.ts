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
/** Attempts that are kept in one browser, such as of two tabs. */
const MOST_FLOWS = 2;
/**
 * Bytes of a Set-Cookie line. Browsers drop cookies of more than 4,096 bytes, and proxies refuse a
 * Cookie header of more than 8 kB, which has both attempts and the app's own cookies.
 */
const LONGEST_FLOW_COOKIE = 3_072;

/** What an attempt to connect keeps in a cookie until the callback. */
type Flow = { state: string; codeVerifier: string; returnTo: string; externalUserId: string | null };

/** The answer of `status`. */
export interface QuotaStatus {
  connected: boolean;
  /** false when the visitor is not signed in to the app itself. */
  signedIn: boolean;
  user: QuotaUser | null;
  /** The address of the user's wallet at Quota. */
  walletUrl: string;
}

/** @internal Answers a request to an endpoint. */
export async function answer(config: QuotaAuthConfig, name: EndpointName, request: NextRequest): Promise<Response> {
  const visit = visitOf(config, request);
  if (request.method !== METHODS[name])
    return failure(405, "method_not_allowed", "This path does not answer that method.", { allow: METHODS[name] });
  // CSRF: other sites can submit forms to this path, but cannot set the headers that name their origin.
  if (METHODS[name] === "POST" && !isSameOrigin(request, visit)) return failure(403, "cross_site", "Only pages of this app may do that.");
  try {
    return await endpoints[name](visit);
  } catch (error) {
    if (error instanceof QuotaApiError) return failure(error.status >= 500 ? 502 : error.status, error.code, error.message);
    if (error instanceof QuotaError) return failure(502, "unreachable", "Quota cannot be reached. Try again in a moment.");
    console.error(error);
    return failure(500, "internal_error", "Something went wrong in this app.");
  }
}

/** @internal The external id whose wallet a request may use: from the app's function, or without one from the signed cookie. */
export async function externalUserIdOf(config: QuotaAuthConfig, request: NextRequest): Promise<string | null> {
  if (!config.getExternalUserId) return cookieUserId(config, request);
  try {
    return (await config.getExternalUserId(request)) || null;
  } catch (error) {
    // For example an app that reads the user of a missing session. No user is the safe result, and the page still renders.
    console.error("getExternalUserId failed, so nobody is signed in:", error);
    return null;
  }
}

/** @internal The external id in the cookie; null when the cookie is absent, forged or expired. */
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
  /** The app's origin, as the browser sees it. */
  origin: string;
  secure: boolean;
  /** The path of the endpoints, as the browser sees it. */
  basePath: string;
  /** The path of the app's home page, as the browser sees it, and the path of cookies for the whole app. */
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

/** @internal The app's origin: as configured, or the origin that the browser requested. */
export function originOf(config: QuotaAuthConfig, request: Request): string {
  const told = config.appUrl || process.env.QUOTA_APP_URL;
  return told ? new URL(told).origin : requestedOrigin(request);
}

/** The origin that the browser requested. */
function requestedOrigin(request: Request): string {
  const url = new URL(request.url);
  const host = first(request.headers.get("x-forwarded-host")) ?? request.headers.get("host") ?? url.host;
  const protocol = first(request.headers.get("x-forwarded-proto")) ?? url.protocol.slice(0, -1);
  // Trusting Host is safe here: a browser sends the host that it connects to, and Quota redirects only to registered addresses.
  return new URL(`${protocol}://${host}`).origin;
}

function first(list: string | null): string | undefined {
  return list?.split(",")[0]?.trim() || undefined;
}

function isSameOrigin(request: Request, { origin }: Visit): boolean {
  // The browser compares the page's origin with this address, so this works under any host name, such as a preview deployment's.
  const site = request.headers.get("sec-fetch-site");
  if (site !== null) return site === "same-origin";
  // For browsers without Sec-Fetch-Site, and for plain http, where browsers leave the header out.
  const from = request.headers.get("origin");
  return from !== null && (from === origin || from === requestedOrigin(request));
}

const endpoints: Record<EndpointName, (visit: Visit) => Promise<Response>> = {
  /** Redirects to Quota, and stores the attempt in a cookie for the callback. */
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
    // Each tab has an attempt of its own. The oldest unfinished ones are deleted before the Cookie header is too long.
    const dropped = unfinishedFlows(request).slice(MOST_FLOWS - 1);
    const cookies = [cookie, ...dropped.map((name) => deletedCookie(visit, name, visit.basePath))];
    return goTo(oauthClient(config).authorizeUrl({ redirectUri: redirectUri(visit), state, codeChallenge }), cookies);
  },

  /** Exchanges the code, when the attempt began in this browser, with the same user, and the answer is from Quota. */
  async callback(visit) {
    const { config, request, query } = visit;
    const state = query.get("state") ?? "";
    const name = flowCookie(state);
    const flow = await readFlow(visit, cookiesOf(request).get(name));
    if (flow === null || flow.state !== state) return backWithError(visit, visit.home, "invalid_state");
    const over = [deletedCookie(visit, name, visit.basePath)];
    const refuse = (code: string) => backWithError(visit, flow.returnTo, code, over);
    const client = oauthClient(config);
    // RFC 9207, against mix-up attacks: another authorization server's answer must not be taken for Quota's.
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
      return goTo(visit.origin + flow.returnTo, [...over, await userCookie(visit, link.externalUserId)]);
    } catch (failed) {
      if (failed instanceof QuotaOAuthError) return refuse(failed.code);
      if (failed instanceof QuotaError) return refuse("temporarily_unavailable");
      throw failed;
    }
  },

  /** Whether a wallet is connected; 200 also when none is. */
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

  /** The address of a checkout page for this user, which returns to `return_to`. */
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

  /** Deletes the user's cookie in this browser; the link stays. */
  async logout(visit) {
    return json({ success: true }, [deletedCookie(visit, EXTERNAL_USER_ID, visit.home)]);
  },

  /** Ends the link, for all browsers. */
  async disconnect(visit) {
    const externalUserId = await externalUserIdOf(visit.config, visit.request);
    if (externalUserId === null) return failure(401, "not_connected", "No wallet is connected.");
    try {
      await apiClient(visit.config).unlinkUser(externalUserId);
    } catch (error) {
      // The link has ended already.
      if (!(error instanceof NotFoundError)) throw error;
    }
    return json({ success: true }, [deletedCookie(visit, EXTERNAL_USER_ID, visit.home)]);
  },
};

/** @internal The linked user with this external id; null without one. */
export async function findUser(config: QuotaAuthConfig, externalUserId: string): Promise<QuotaUser | null> {
  try {
    const { user, linked_at, limit, spent } = await apiClient(config).getUser(externalUserId);
    return { externalUserId, ...user, ...(limit === undefined ? {} : { limit, spent }), linkedAt: linked_at };
  } catch (error) {
    if (error instanceof NotFoundError) return null;
    throw error;
  }
}

/** The wanted path when it is on this app, else the home page (no open redirect). */
function ownPath(wanted: string | null, { origin, home }: Visit): string {
  if (wanted === null) return home;
  // Browsers read a backslash as a slash, and remove tabs and line breaks.
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
 * The Set-Cookie line of an attempt. When `returnTo` makes it too long, the path loses its fragment,
 * then its query, because a browser would drop a longer cookie and the attempt with it.
 */
async function flowCookieOf(visit: Visit, flow: Flow): Promise<string> {
  const { returnTo } = flow;
  let line = "";
  for (const path of [returnTo, returnTo.replace(/#.*/, ""), returnTo.replace(/[?#].*/, ""), visit.home]) {
    // Encoded as base64url, because sign() would take three bytes for each quote and percent sign.
    const text = toText(new TextEncoder().encode(JSON.stringify({ ...flow, returnTo: path })));
    const value = await sign(signerOf(visit.config), FLOW, text, FLOW_SECONDS);
    line = setCookie(flowCookie(flow.state), value, { ...visit, path: visit.basePath, maxAgeSeconds: FLOW_SECONDS });
    if (line.length <= LONGEST_FLOW_COOKIE) break;
  }
  return line;
}

async function readFlow(visit: Visit, cookie: string | undefined): Promise<Flow | null> {
  const text = await open(signerOf(visit.config), FLOW, cookie);
  // A text in another form was signed by an earlier version of this package.
  return text === null || !/^[\w-]+$/.test(text) ? null : parsed<Flow>(new TextDecoder().decode(fromText(text)));
}

/** The names of this browser's unfinished attempts, newest first. */
function unfinishedFlows(request: Request): string[] {
  const flows = [...cookiesOf(request)].filter(([name]) => name.startsWith(FLOW));
  // Browsers send cookies of one path in order of creation (RFC 6265 §5.4), but the expiry in the value is more reliable.
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
export function deletedCookie(visit: { secure: boolean }, name: string, path: string): string {
  return setCookie(name, "", { maxAgeSeconds: 0, secure: visit.secure, path });
}

async function userCookie(visit: Visit, externalUserId: string): Promise<string> {
  const value = await sign(signerOf(visit.config), EXTERNAL_USER_ID, externalUserId, SESSION_SECONDS);
  return setCookie(EXTERNAL_USER_ID, value, { maxAgeSeconds: SESSION_SECONDS, secure: visit.secure, path: visit.home });
}

/** The Set-Cookie lines that an answer needs: deletes the cookie when no wallet is connected, replaces it when it has another id. */
async function freshCookie(visit: Visit, user: QuotaUser | null): Promise<string[]> {
  if (user !== null) {
    return (await cookieUserId(visit.config, visit.request)) === user.externalUserId ? [] : [await userCookie(visit, user.externalUserId)];
  }
  return cookiesOf(visit.request).has(EXTERNAL_USER_ID) ? [deletedCookie(visit, EXTERNAL_USER_ID, visit.home)] : [];
}

function backWithError(visit: Visit, path: string, code: string, cookies: string[] = []): Response {
  const url = new URL(path, visit.origin);
  url.searchParams.set("quota_error", code);
  return goTo(url.href, cookies);
}

/** Codes and states are in URLs, which must not be cached or sent as Referer. */
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
