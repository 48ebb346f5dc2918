import type { QuotaClient } from "@usequota/core";
import { browserPath, nextBasePath } from "./base-path.ts";
import { apiClient, BASE_PATH, EXTERNAL_USER_ID, type QuotaConfig, type QuotaUser } from "./config.ts";
import { open } from "./cookies.ts";
import { findUser, signerOf } from "./endpoints.ts";

/** Whom to look up, when the cookie shall not decide. */
export interface QuotaUserOptions extends QuotaConfig {
  /** Your own id for the person, from your own session: the surest way; null or undefined is nobody. Left out, the signed `external_user_id` cookie names them. */
  externalUserId?: string | null | undefined;
}

/**
 * The person behind this request and their wallet; null when none is connected. For
 * Server Components, Server Actions and route handlers. It waits for a request, so it is
 * never part of what Next prerenders or caches: with `cacheComponents`, call it within `<Suspense>`.
 *
 * Throws what `QuotaClient.getUser` throws, except for a person who is not linked.
 */
export async function getQuotaUser(options: QuotaUserOptions = {}): Promise<QuotaUser | null> {
  await aRequest();
  const externalUserId = await whoAsks(options);
  return externalUserId === null ? null : findUser(options, externalUserId);
}

/**
 * The same, and somebody without a wallet is sent to connect one, and then back to
 * `returnTo`, a path of your app as in `<Link>`. For Server Components and Server Actions.
 */
export async function requireQuotaUser(options: QuotaUserOptions & { returnTo?: string; basePath?: string } = {}): Promise<QuotaUser> {
  const user = await getQuotaUser(options);
  if (user !== null) return user;
  const { redirect } = await import("next/navigation.js");
  // Next puts its own `basePath` before the path of a redirect, and leaves a query alone.
  return redirect(`${options.basePath ?? BASE_PATH}/authorize?return_to=${encodeURIComponent(browserPath(options.returnTo ?? "/"))}`);
}

/**
 * A client whose requests are billed to the person behind this request: it sends
 * `X-Quota-User` by itself. null when nobody is named, so that nobody else pays by mistake.
 */
export async function getQuotaClient(options: QuotaUserOptions = {}): Promise<QuotaClient | null> {
  const externalUserId = await whoAsks(options);
  return externalUserId === null ? null : apiClient(options, externalUserId);
}

/** Forgets the person in this browser; the link stays. For Server Actions and route handlers, which may set cookies. */
export async function clearQuotaAuth(): Promise<void> {
  const { cookies } = await import("next/headers.js");
  (await cookies()).delete({ name: EXTERNAL_USER_ID, path: nextBasePath() || "/" });
}

/** Named by a session that Next does not know of, a person's wallet would be rendered once, at the build, for everybody. */
async function aRequest(): Promise<void> {
  const { connection } = await import("next/server.js");
  try {
    await connection();
  } catch (error) {
    // A script or a job has none, and renders nothing.
    if (!(error instanceof Error && error.message.includes("outside a request scope"))) throw error;
  }
}

async function whoAsks(options: QuotaUserOptions): Promise<string | null> {
  // Named and undefined is a person who is signed out, and not a reason to believe a cookie that they left behind.
  if ("externalUserId" in options) return options.externalUserId || null;
  const { cookies } = await import("next/headers.js");
  return open(signerOf(options), EXTERNAL_USER_ID, (await cookies()).get(EXTERNAL_USER_ID)?.value);
}
