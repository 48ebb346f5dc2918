import type { NextRequest } from "next/server";
import NextAuth from "next-auth";
import { authOptions, isSessionOpen } from "#server/people/auth.ts";
import { RETRY_AFTER_SECONDS } from "#server/platform/away.ts";

async function handler(request: NextRequest, context: { params: Promise<{ nextauth: string[] }> }) {
  const options = await authOptions();
  // next-auth logs what its callbacks and events throw and forgets the cookie: after a sign-out that could
  // not be written down a copy of it would go on working, and a database that is away would sign people out.
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
      // Only here is a cookie made anew, and none is made for a session that has ended.
      jwt: async (ask) => {
        if (!ask.user && (await orFail(isSessionOpen(ask.token))) === false) throw new Error("the session has ended");
        return options.callbacks?.jwt?.(ask) ?? ask.token;
      },
    },
    events: { signOut: async (message) => void (await orFail(Promise.resolve(options.events?.signOut?.(message)))) },
  });
  const { error } = (failed as { error: unknown } | null) ?? {};
  if (error !== undefined) throw error;
  // What an attempt to sign in came to stands in an address that next-auth hands to its own script.
  if (response.status === 401 && (await response.clone().text()).includes("error=unavailable")) {
    const headers = new Headers(response.headers);
    headers.set("retry-after", String(RETRY_AFTER_SECONDS));
    return new Response(response.body, { status: 503, headers });
  }
  // RFC 9700 §4.12: after a form 303, or a browser could send the password on.
  if (request.method !== "POST" || response.status !== 302) return response;
  return new Response(response.body, { status: 303, headers: response.headers });
}

export { handler as GET, handler as POST };
