import { cookies } from "next/headers";
import { redirect } from "next/navigation";
import type { NextAuthOptions } from "next-auth";
import { getServerSession } from "next-auth";
import CredentialsProvider from "next-auth/providers/credentials";
import GithubProvider from "next-auth/providers/github";
import GoogleProvider from "next-auth/providers/google";
import { cache } from "react";
import { publicUrl } from "#env";
import { log } from "../platform/log.ts";
import { serverSecret } from "../platform/server-secret.ts";
import { TooBusy } from "./hashing.ts";
import { checkPassword } from "./passwords.ts";
import { beginSession, endSession, ownerOfSession, SESSION_SECONDS, type SessionClaims } from "./sessions.ts";
import { configuredProviders, isProvider, verifiedEmail } from "./sign-in-providers.ts";
import { personOfProvider } from "./sign-up.ts";

/** Who is signed in, as pages and procedures see them. */
export type CurrentUser = {
  id: string;
  email: string;
  name: string | null;
  walletId: string;
  /** When they last showed who they are; null in a session that does not know. */
  signedInAt: Date | null;
};

// What src/app/sign-in reads from an attempt that came to nothing; next-auth itself says CredentialsSignin.
const TOO_MANY_ATTEMPTS = "too_many_attempts";
const BUSY = "busy";
const UNAVAILABLE = "unavailable";

/**
 * next-auth's options. Made for each request and not at import, because the secret
 * may have to come from the database, which a build does not have.
 */
export async function authOptions(): Promise<NextAuthOptions> {
  // next-auth takes its own address from here; without it, port 3000.
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
            // next-auth hands the message of what is thrown here to the browser.
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
        // A cookie from before the secret changed is no fault; its owner signs in again.
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
          // An address that nobody has verified could be anybody's.
          if (email === null) return "/sign-in?error=unverified_email";
          const { provider, providerAccountId: subject } = account;
          // What next-auth hands on to `jwt` below.
          const person = await personOfProvider({ provider, subject, email, name: user.name ?? null });
          Object.assign(user, person, { sessionId: await beginSession(person.id) });
          return true;
        } catch (error) {
          log.error("signing in failed", { error, provider: account.provider });
          return `/sign-in?error=${UNAVAILABLE}`;
        }
      },
      // Nothing but whose session it is and which, the number that ends all sessions and the time
      // of signing in: what else there is to know is read from the database, so it is never stale.
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

type Said = { userId?: unknown; version?: unknown; session?: unknown; signedInAt?: unknown };

/** What a cookie that is ours says. One from before there were numbers is of the first one. */
function claimsOf({ userId, version, session }: Said): SessionClaims | null {
  if (typeof userId !== "string") return null;
  return { userId, version: typeof version === "number" ? version : 0, sessionId: typeof session === "string" ? session : null };
}

/** Whether what a cookie says is of a session that has not ended. */
export async function sessionGoesOn(token: { sub?: unknown; version?: unknown; session?: unknown }): Promise<boolean> {
  const claims = claimsOf({ ...token, userId: token.sub });
  return claims !== null && (await ownerOfSession(claims)) !== null;
}

/** The person who is signed in, or null. One look-up for all that one request renders. */
export const currentUser = cache(async (): Promise<CurrentUser | null> => {
  // Visitors without a session cost nothing.
  const jar = await cookies();
  if (!jar.getAll().some((cookie) => SESSION_COOKIE.test(cookie.name))) return null;
  const session = (await getServerSession(await authOptions())) as Said | null;
  const claims = session === null ? null : claimsOf(session);
  const user = claims === null ? null : await ownerOfSession(claims);
  return user === null ? null : { ...user, signedInAt: typeof session?.signedInAt === "number" ? new Date(session.signedInAt) : null };
});

/** For pages: whoever is not signed in is asked to, and comes back to `path`. */
export async function requireUser(path: string): Promise<CurrentUser> {
  return (await currentUser()) ?? redirect(`/sign-in?callbackUrl=${encodeURIComponent(path)}`);
}

// next-auth splits a long cookie into numbered ones.
const SESSION_COOKIE = /^(__Secure-)?next-auth\.session-token(\.\d+)?$/;

/** Where a request comes from, as our server found out (http/address.ts). */
export function addressOf(headers: Record<string, string | string[] | undefined> | undefined): string {
  const forwarded = headers?.["x-forwarded-for"];
  const first = Array.isArray(forwarded) ? forwarded[0] : forwarded;
  return first?.split(",")[0]?.trim() ?? "unknown";
}
