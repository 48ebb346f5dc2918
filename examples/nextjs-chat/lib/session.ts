import { createHmac, timingSafeEqual } from "node:crypto";
import { cookies } from "next/headers";
import type { NextRequest } from "next/server";

/**
 * This app's own sign-in: a name, and a signed cookie with it. There are no passwords, because this
 * is an example; the rest of the app treats the session as a real one.
 */
export type Session = { userId: string; name: string };

const COOKIE = "acme_session";

/** The session of a request; null when no user is signed in. */
export async function getSession(request?: NextRequest): Promise<Session | null> {
  const jar = request?.cookies ?? (await cookies());
  const [name, mac] = jar.get(COOKIE)?.value.split(".") ?? [];
  if (name === undefined || mac === undefined) return null;
  const expected = Buffer.from(macOf(name));
  const given = Buffer.from(mac);
  if (expected.length !== given.length || !timingSafeEqual(expected, given)) return null;
  const text = Buffer.from(name, "base64url").toString();
  return { name: text, userId: userIdOf(text) };
}

/** Signs a user in; false for an empty name. */
export async function signIn(name: string): Promise<boolean> {
  const clean = name.trim().replace(/\s+/g, " ").slice(0, 40);
  if (userIdOf(clean) === "acme_") return false;
  const value = Buffer.from(clean).toString("base64url");
  (await cookies()).set(COOKIE, `${value}.${macOf(value)}`, { httpOnly: true, sameSite: "lax", path: "/", maxAge: 30 * 24 * 60 * 60 });
  return true;
}

export async function signOut(): Promise<void> {
  (await cookies()).delete(COOKIE);
}

/** The app's id for a user, which it gives to Quota. */
function userIdOf(name: string): string {
  return `acme_${name
    .toLowerCase()
    .normalize("NFKD")
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-|-$/g, "")}`;
}

function macOf(value: string): string {
  const secret = process.env.ACME_SESSION_SECRET;
  if (!secret) throw new Error("ACME_SESSION_SECRET is not set.");
  return createHmac("sha256", secret).update(value).digest("base64url");
}
