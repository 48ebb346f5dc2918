import { oauthRoute } from "#server/http/oauth.ts";

export const dynamic = "force-dynamic";

/** For plain `next start`; our own server answers it before Next. */
const handler = oauthRoute(async () => null);

export { handler as GET, handler as HEAD, handler as OPTIONS };
