import { oauthRoute } from "#server/http/oauth.ts";
import { signedInBy } from "#server/people/signed-in.ts";

export const dynamic = "force-dynamic";

/** The authorization server for plain `next start`; our own server answers plain paths before Next (src/server/start/oauth.ts). */
const handler = oauthRoute(signedInBy);

export { handler as GET, handler as HEAD, handler as OPTIONS, handler as POST };
