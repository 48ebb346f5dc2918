import { encode } from "next-auth/jwt";
import { expect, test } from "vitest";
import { env } from "#env";
import { asTheDatabase, withDatabase } from "#testing/database.ts";
import { makeUser } from "#testing/makers.ts";
import { serverSecret } from "../platform/server-secret.ts";
import { beginSession, endSession } from "./sessions.ts";
import { signedInBy, userOfCookies } from "./signed-in.ts";

const db = withDatabase("embedded");
asTheDatabase(db);

/** A user with a session, and its cookie as next-auth writes it. */
async function arrange(over: { maxAge?: number } = {}) {
  const user = await makeUser(db());
  const session = await beginSession(user.id);
  const token = { sub: user.id, version: 0, session, signedInAt: 1_000 };
  return { user, session, cookie: await encode({ token, secret: await serverSecret(), ...over }) };
}

test("a session's cookie names its user and the time of signing in, whole or in numbered parts, among other cookies", async () => {
  const { user, cookie } = await arrange();
  const parts = `next-auth.session-token.1=${cookie.slice(100)}; next-auth.session-token.0=${cookie.slice(0, 100)}`;
  for (const header of [`next-auth.session-token=${cookie}`, `a=b; next-auth.session-token=${cookie};c=d`, `a; ${parts}`]) {
    expect(await userOfCookies(header)).toMatchObject({ id: user.id, email: user.email, signedInAt: new Date(1_000) });
    expect(await signedInBy(header)).toEqual({ userId: user.id, signedInAt: new Date(1_000) });
  }
});

test("no user is signed in without a cookie, by a foreign or expired cookie, or in a session that has ended", async () => {
  const { user, session, cookie } = await arrange();
  const late = await arrange({ maxAge: -60 });
  const foreign = await encode({ token: { sub: user.id, version: 0, session }, secret: "another" });
  for (const header of ["", "a=b", "next-auth.session-token=", "next-auth.session-token=x.y.z"])
    expect(await userOfCookies(header)).toBe(null);
  for (const value of [foreign, late.cookie, `${cookie.slice(0, -4)}AAAA`])
    expect(await userOfCookies(`next-auth.session-token=${value}`)).toBe(null);
  await endSession({ userId: user.id, sessionId: session, version: 0 });
  expect(await userOfCookies(`next-auth.session-token=${cookie}`)).toBe(null);
});

test("when the public address is https, only the cookie with the prefix __Secure- is read", async () => {
  const { user, cookie } = await arrange();
  const before = [env.QUOTA_URL, process.env.NEXTAUTH_URL];
  delete process.env.NEXTAUTH_URL;
  Object.assign(env, { QUOTA_URL: "https://quota.example" });
  try {
    expect(await userOfCookies(`next-auth.session-token=${cookie}`)).toBe(null);
    expect(await userOfCookies(`__Secure-next-auth.session-token=${cookie}`)).toMatchObject({ id: user.id });
  } finally {
    Object.assign(env, { QUOTA_URL: before[0] });
    if (before[1] !== undefined) process.env.NEXTAUTH_URL = before[1];
  }
});
