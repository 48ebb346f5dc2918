import { currentUser } from "#server/auth.ts";
import { answerOAuth } from "#server/connect/bridge.ts";

export const dynamic = "force-dynamic";

/** The authorization server, see src/server/connect/provider.ts. Only a browser that authorizes has somebody signed in. */
async function handler(request: Request): Promise<Response> {
  return answerOAuth(request, request.method === "GET" ? ((await currentUser())?.id ?? null) : null);
}

export { handler as GET, handler as HEAD, handler as OPTIONS, handler as POST };
