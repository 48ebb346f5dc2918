import { type NextRequest, NextResponse } from "next/server.js";
import { nextBasePath } from "./base-path.ts";
import { BASE_PATH, EXTERNAL_USER_ID, type QuotaAuthConfig } from "./config.ts";
import { cookiesOf } from "./cookies.ts";
import { answer, cookieUserId, deletedCookie, type EndpointName, externalUserIdOf, METHODS, originOf } from "./endpoints.ts";

/**
 * Connect Wallet as middleware: `proxy.ts` in Next.js 16, `middleware.ts` before.
 *
 * Answers `authorize`, `callback`, `status`, `me`, `packages`, `checkout`, `logout` and `disconnect`
 * under `/api/quota`, and passes all other requests on. Removes an `external_user_id` cookie from
 * requests when it is forged, has expired, or names another user than `getExternalUserId`, so that
 * pages can trust the cookie.
 *
 * @example
 * ```ts
 * // proxy.ts
 * export default createQuotaMiddleware({
 *   clientId: process.env.QUOTA_CLIENT_ID!,
 *   clientSecret: process.env.QUOTA_CLIENT_SECRET!,
 *   storageMode: "hosted",
 *   getExternalUserId: async (request) => (await getSession(request)).userId,
 * });
 * ```
 */
export function createQuotaMiddleware(config: QuotaAuthConfig): (request: NextRequest) => Promise<Response> {
  const basePath = config.basePath ?? BASE_PATH;
  return async (request) => {
    const pathname = appPath(request);
    const name = pathname.startsWith(`${basePath}/`) ? pathname.slice(basePath.length + 1).replace(/\/$/, "") : "";
    if (Object.hasOwn(METHODS, name)) return answer(config, name as EndpointName, request);
    if (pathname.startsWith("/_next/") || !cookiesOf(request).has(EXTERNAL_USER_ID)) return NextResponse.next();
    const named = await cookieUserId(config, request);
    if (named !== null && (!config.getExternalUserId || (await externalUserIdOf(config, request)) === named)) return NextResponse.next();
    const headers = new Headers(request.headers);
    const others = (headers.get("cookie") ?? "").split(";").filter((pair) => pair.trim().split("=")[0] !== EXTERNAL_USER_ID);
    headers.set("cookie", others.map((pair) => pair.trim()).join("; "));
    const response = NextResponse.next({ request: { headers } });
    response.headers.append(
      "set-cookie",
      deletedCookie({ secure: originOf(config, request).startsWith("https:") }, EXTERNAL_USER_ID, nextBasePath() || "/"),
    );
    return response;
  };
}

/** The path within the app, without Next's `basePath`. */
function appPath(request: Request): string {
  const { pathname } = new URL(request.url);
  const base = nextBasePath();
  return base !== "" && pathname.startsWith(`${base}/`) ? pathname.slice(base.length) : pathname;
}
