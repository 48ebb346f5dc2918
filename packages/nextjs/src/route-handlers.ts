import type { NextRequest } from "next/server.js";
import type { QuotaAuthConfig } from "./config.ts";
import { answer, type EndpointName, METHODS } from "./endpoints.ts";

/** A route handler of Next.js. */
export type QuotaRouteHandler = (request: NextRequest) => Promise<Response>;

/** A handler for each endpoint, and `GET` and `POST` for a catch-all route with all of them. */
export interface QuotaRouteHandlers {
  /** `GET`: redirects to Quota; `?return_to=` is where the browser goes afterwards, a path of your app. */
  authorize: QuotaRouteHandler;
  /** `GET`: the redirect URI, to which Quota returns. */
  callback: QuotaRouteHandler;
  /** `GET`: `{connected, signedIn, user, walletUrl}`. */
  status: QuotaRouteHandler;
  /** `GET`: `{user}`, or 401 `not_connected`. */
  me: QuotaRouteHandler;
  /** `GET`: `{packages}`. */
  packages: QuotaRouteHandler;
  /** `POST {package_id, return_to}`: `{url}` of the page to buy at. */
  checkout: QuotaRouteHandler;
  /** `POST`: deletes the user's cookie in this browser. */
  logout: QuotaRouteHandler;
  /** `POST`: ends the link. */
  disconnect: QuotaRouteHandler;
  /** The `GET` endpoints above, by the last segment of the path. */
  GET: QuotaRouteHandler;
  /** The `POST` endpoints above, by the last segment of the path. */
  POST: QuotaRouteHandler;
}

/**
 * Connect Wallet as route handlers, for apps without middleware.
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
