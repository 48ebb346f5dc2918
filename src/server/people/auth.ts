import { headers } from "next/headers";
import { redirect } from "next/navigation";
import type { NextAuthOptions } from "next-auth";
import CredentialsProvider from "next-auth/providers/credentials";
import GithubProvider from "next-auth/providers/github";
import GoogleProvider from "next-auth/providers/google";
import { cache } from "react";
import { publicUrl } from "#env";
import { log } from "../platform/log.ts";
import { serverSecret } from "../platform/server-secret.ts";
import { TooBusy } from "./hashing.ts";
import { checkPassword } from "./passwords.ts";
import { beginSession, endSession, ownerOfSession, SESSION_SECONDS } from "./sessions.ts";
import { configuredProviders, isProvider, verifiedEmail } from "./sign-in-providers.ts";
import { personOfProvider } from "./sign-up.ts";
import { type CurrentUser, claimsOf, userOfCookies } from "./signed-in.ts";

// Error codes for src/app/sign-in; next-auth adds CredentialsSignin for a wrong email or password.
const TOO_MANY_ATTEMPTS = "too_many_attempts";
const BUSY = "busy";
const UNAVAILABLE = "unavailable";

/**
 * next-auth's options. Made for each request and not at import, because the secret
 * may have to come from the database, which a build does not have.
 */
export async function authOptions(): Promise<NextAuthOptions> {
  // next-auth reads its own address from this variable and assumes port 3000 without it.
  process.env.NEXTAUTH_URL ??= publicUrl();
  return {
    secret: await serverSecret(),
    session: { strategy: "jwt", maxAge: SESSION_SECONDS },
    pages: { signIn: "/sign-in", error: "/sign-in" },
    providers: [
      CredentialsProvider({
        credentials: { email: { type: "email" }, password: { type: "password" } },
        async authorize(credentials, request) {
          if (typeof credentials?.email !== "string" || typeof credentials.password !== "string") return null;
          const verdict = await checkPassword({
            email: credentials.email,
            password: credentials.password,
            ip: addressOf(request.headers),
          }).catch((error) => {
            // next-auth sends the message of an error thrown here to the browser, so it has to be one of our codes.
            if (error instanceof TooBusy) throw new Error(BUSY);
            log.error("signing in failed", { error });
            throw new Error(UNAVAILABLE);
          });
          if (verdict.kind === "too_many_attempts") throw new Error(TOO_MANY_ATTEMPTS);
          if (verdict.kind !== "accepted") return null;
          const sessionId = await beginSession(verdict.user.id).catch((error) => {
            log.error("signing in failed", { error });
            throw new Error(UNAVAILABLE);
          });
          return { ...verdict.user, sessionId };
        },
      }),
      ...otherProviders(),
    ],
    logger: {
      error: (code, metadata) => {
        // A cookie signed with an earlier secret is no fault; the user signs in again.
        if (code !== "JWT_SESSION_ERROR")
          log.error("next-auth failed", { code, error: metadata instanceof Error ? metadata : metadata.error });
      },
      warn: () => {},
      debug: () => {},
    },
    callbacks: {
      async signIn({ user, account, profile }) {
        if (!isProvider(account?.provider)) return true;
        try {
          const email = await verifiedEmail(account.provider, profile, account.access_token);
          // An unverified address may belong to another person.
          if (email === null) return "/sign-in?error=unverified_email";
          const { provider, providerAccountId: subject } = account;
          // next-auth passes `user` on to `jwt` below.
          const person = await personOfProvider({ provider, subject, email, name: user.name ?? null });
          Object.assign(user, person, { sessionId: await beginSession(person.id) });
          return true;
        } catch (error) {
          log.error("signing in failed", { error, provider: account.provider });
          return `/sign-in?error=${UNAVAILABLE}`;
        }
      },
      // The cookie has the user's id, the session's id, the user's session version and the time of signing in.
      // Everything else is read from the database, so it is never stale.
      jwt: ({ token, user }) => {
        if (user) {
          const { id, sessionVersion, sessionId } = user as { id: string; sessionVersion?: number; sessionId?: string };
          return {
            sub: id,
            version: sessionVersion ?? 0,
            signedInAt: Date.now(),
            ...(sessionId === undefined ? {} : { session: sessionId }),
          };
        }
        const { sub, version, session, signedInAt } = token;
        return { sub, version, ...(session === undefined ? {} : { session }), ...(signedInAt === undefined ? {} : { signedInAt }) };
      },
      session: ({ session, token }) => ({
        expires: session.expires,
        userId: token.sub,
        version: token.version,
        session: token.session,
        signedInAt: token.signedInAt,
      }),
    },
    events: {
      signOut: async ({ token }) => {
        const claims = claimsOf({ userId: token?.sub, version: token?.version, session: token?.session });
        if (claims !== null) await endSession(claims);
      },
    },
  };
}

function otherProviders(): NextAuthOptions["providers"] {
  return configuredProviders().map(({ id, clientId, clientSecret }) =>
    id === "google" ? GoogleProvider({ clientId, clientSecret }) : GithubProvider({ clientId, clientSecret }),
  );
}

/** Whether a cookie's session has not ended. */
export async function isSessionOpen(token: { sub?: unknown; version?: unknown; session?: unknown }): Promise<boolean> {
  const claims = claimsOf({ ...token, userId: token.sub });
  return claims !== null && (await ownerOfSession(claims)) !== null;
}

/** The signed-in user, or null. One query for everything that one request renders. */
export const currentUser = cache(async (): Promise<CurrentUser | null> => userOfCookies((await headers()).get("cookie") ?? ""));

/** For pages: sends a visitor who is not signed in to the sign-in page, which leads back to `path`. */
export async function requireUser(path: string): Promise<CurrentUser> {
  return (await currentUser()) ?? redirect(`/sign-in?callbackUrl=${encodeURIComponent(path)}`);
}

/** The client's IP address, which our server has put into x-forwarded-for (http/address.ts). */
export function addressOf(headers: Record<string, string | string[] | undefined> | undefined): string {
  const forwarded = headers?.["x-forwarded-for"];
  const first = Array.isArray(forwarded) ? forwarded[0] : forwarded;
  return first?.split(",")[0]?.trim() ?? "unknown";
}
