import type { NextRequest } from "next/server";
import NextAuth from "next-auth";
import { authOptions } from "#server/auth.ts";
import { RETRY_AFTER_SECONDS } from "#server/platform/away.ts";

async function handler(request: NextRequest, context: { params: Promise<{ nextauth: string[] }> }) {
  const response: Response = await NextAuth(request as never, context as never, await authOptions());
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
