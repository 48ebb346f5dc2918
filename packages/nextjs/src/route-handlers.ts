import type { NextRequest } from "next/server.js";
import type { QuotaAuthConfig } from "./config.ts";
import { answer, type EndpointName, METHODS } from "./endpoints.ts";

/** A route handler of Next.js. */
export type QuotaRouteHandler = (request: NextRequest) => Promise<Response>;

/** One handler for each endpoint, and `GET` and `POST` for a catch-all route that has them all. */
export interface QuotaRouteHandlers {
  /** `GET`: sends the person to Quota; `?return_to=` is where they end, a path of your app. */
  authorize: QuotaRouteHandler;
  /** `GET`: where Quota sends them back. */
  callback: QuotaRouteHandler;
  /** `GET`: `{connected, signedIn, user, walletUrl}`. */
  status: QuotaRouteHandler;
  /** `GET`: `{user}`, or 401 `not_connected`. */
  me: QuotaRouteHandler;
  /** `GET`: `{packages}`. */
  packages: QuotaRouteHandler;
  /** `POST {package_id, return_to}`: `{url}` of the page to buy at. */
  checkout: QuotaRouteHandler;
  /** `POST`: forgets the person in this browser. */
  logout: QuotaRouteHandler;
  /** `POST`: ends the link. */
  disconnect: QuotaRouteHandler;
  /** All of the above that are read, by the last part of the path. */
  GET: QuotaRouteHandler;
  /** All of the above that change something, by the last part of the path. */
  POST: QuotaRouteHandler;
}

/**
 * Connect Wallet as route handlers, for those who want no middleware.
 *
 * @example
 * ```ts
 * // app/api/quota/[...quota]/route.ts
 * export const { GET, POST } = createQuotaRouteHandlers({
 *   storageMode: "hosted",
 *   getExternalUserId: async (request) => (await getSession(request))?.userId,
 * });
 * ```
 */
export function createQuotaRouteHandlers(config: QuotaAuthConfig = {}): QuotaRouteHandlers {
  const handler =
    (name: EndpointName): QuotaRouteHandler =>
    (request) =>
      answer(config, name, request);
  const any: QuotaRouteHandler = async (request) => {
    const name = new URL(request.url).pathname.replace(/\/$/, "").split("/").at(-1) ?? "";
    return Object.hasOwn(METHODS, name)
      ? answer(config, name as EndpointName, request)
      : Response.json({ error: { code: "not_found", message: "There is no such endpoint." } }, { status: 404 });
  };
  return {
    authorize: handler("authorize"),
    callback: handler("callback"),
    status: handler("status"),
    me: handler("me"),
    packages: handler("packages"),
    checkout: handler("checkout"),
    logout: handler("logout"),
    disconnect: handler("disconnect"),
    GET: any,
    POST: any,
  };
}
