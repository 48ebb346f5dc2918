import type { NextRequest } from "next/server";
import NextAuth from "next-auth";
import { authOptions, isSessionOpen } from "#server/people/auth.ts";
import { RETRY_AFTER_SECONDS } from "#server/platform/away.ts";

async function handler(request: NextRequest, context: { params: Promise<{ nextauth: string[] }> }) {
  const options = await authOptions();
  // next-auth logs errors of its callbacks and events and deletes the cookie. That would leave a copy of
  // the cookie working after a sign-out that was not stored, and would sign users out while the database is away.
  let failed: { error: unknown } | null = null;
  const orFail = async <T>(work: Promise<T>): Promise<T | null> => {
    try {
      return await work;
    } catch (error) {
      failed = { error };
      return null;
    }
  };
  const response: Response = await NextAuth(request as never, context as never, {
    ...options,
    callbacks: {
      ...options.callbacks,
      // next-auth renews the cookie only on this route; the error keeps it from renewing an ended session's.
      jwt: async (ask) => {
        if (!ask.user && (await orFail(isSessionOpen(ask.token))) === false) throw new Error("the session has ended");
        return options.callbacks?.jwt?.(ask) ?? ask.token;
      },
    },
    events: { signOut: async (message) => void (await orFail(Promise.resolve(options.events?.signOut?.(message)))) },
  });
  const { error } = (failed as { error: unknown } | null) ?? {};
  if (error !== undefined) throw error;
  // The outcome of a failed sign-in is in a URL in the JSON body, which next-auth's script in the browser reads.
  if (response.status === 401 && (await response.clone().text()).includes("error=unavailable")) {
    const headers = new Headers(response.headers);
    headers.set("retry-after", String(RETRY_AFTER_SECONDS));
    return new Response(response.body, { status: 503, headers });
  }
  // RFC 9700 §4.12: a POST with a password redirects with 303, because with 302 a browser may send the form on.
  if (request.method !== "POST" || response.status !== 302) return response;
  return new Response(response.body, { status: 303, headers: response.headers });
}

export { handler as GET, handler as POST };
