import { answerOAuth } from "#server/connect/bridge.ts";
import { addressOf, currentUser } from "#server/people/auth.ts";

export const dynamic = "force-dynamic";

/** The authorization server, see src/server/connect/provider.ts. Only GET requests, those of a browser at `/oauth/authorize`, read the session. */
async function handler(request: Request): Promise<Response> {
  return answerOAuth(request, {
    person: async () => {
      const user = request.method === "GET" ? await currentUser() : null;
      return user === null ? null : { userId: user.id, signedInAt: user.signedInAt };
    },
    address: addressOf(Object.fromEntries(request.headers)),
  });
}

export { handler as GET, handler as HEAD, handler as OPTIONS, handler as POST };
