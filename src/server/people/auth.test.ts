import { afterEach, describe, expect, test, vi } from "vitest";
import { asTheDatabase, withDatabase } from "#testing/database.ts";
import { makeUser } from "#testing/makers.ts";
import { createCaller } from "../trpc/root.ts";
import { authOptions } from "./auth.ts";
import { inQueue } from "./hashing.ts";

const db = withDatabase("embedded");
asTheDatabase(db);
afterEach(() => {
  vi.restoreAllMocks();
});

type Callback = (ask: object) => unknown;

async function callbacks(): Promise<Record<"signIn" | "jwt", Callback>> {
  return (await authOptions()).callbacks as never;
}

/** What next-auth does after a provider has identified a user: where it leads, and what the session says. */
async function signInWith(account: { provider: string; providerAccountId: string }, profile: object) {
  const { signIn, jwt } = await callbacks();
  const user = { id: account.providerAccountId, name: "Mara", email: "what the profile shows" };
  const allowed = await signIn({ user, account: { ...account, access_token: "t" }, profile });
  const token = await jwt({ token: { sub: user.id, email: "kept by nobody" }, user });
  return { allowed, token };
}

describe("signing in through another provider", () => {
  test("signs in the user with the verified address, with the user's session version", async () => {
    const mara = await makeUser(db());
    await db().prisma.user.update({ where: { id: mara.id }, data: { sessionVersion: 3 } });
    vi.spyOn(globalThis, "fetch").mockResolvedValue(Response.json([{ email: mara.email, primary: true, verified: true }]));
    const { allowed, token } = await signInWith({ provider: "github", providerAccountId: crypto.randomUUID() }, {});
    expect(allowed).toBe(true);
    expect(token).toEqual({ sub: mara.id, version: 3, signedInAt: expect.any(Number), session: expect.any(String) });
  });

  test("opens an account at the first sign-in, and finds it at the second", async () => {
    const who = { provider: "google", providerAccountId: crypto.randomUUID() };
    const profile = { email: `${who.providerAccountId}@example.com`, email_verified: true };
    const first = await signInWith(who, profile);
    const user = await db().prisma.user.findUniqueOrThrow({ where: { email: profile.email } });
    expect(first.token).toMatchObject({ sub: user.id, version: 0 });
    expect((await signInWith(who, profile)).token).toMatchObject({ sub: user.id, version: 0 });
  });

  test("with an unverified address leads back to the sign-in page and opens no account", async () => {
    const mara = await makeUser(db());
    const who = { provider: "google", providerAccountId: crypto.randomUUID() };
    expect((await signInWith(who, { email: mara.email, email_verified: false })).allowed).toBe("/sign-in?error=unverified_email");
    expect(await db().prisma.identity.count({ where: { subject: who.providerAccountId } })).toBe(0);
  });

  test("a failure of the provider shows the user a sentence and is logged", async () => {
    vi.spyOn(globalThis, "fetch").mockResolvedValue(Response.json({}, { status: 500 }));
    const written = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const { allowed } = await signInWith({ provider: "github", providerAccountId: "1" }, {});
    expect(allowed).toBe("/sign-in?error=unavailable");
    expect(String(written.mock.calls[0]?.[0])).toContain("GitHub answered 500");
  });
});

test("a sign-in or sign-up that finds the queue full gets the error code for which the pages say to try again", async () => {
  const ip = "203.0.113.40";
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const line = Array.from({ length: 16 }, () => inQueue(ip, () => ended));
  const [credentials] = (await authOptions()).providers as unknown as [{ options: { authorize(...args: object[]): Promise<unknown> } }];
  const person = { email: "mara@example.com", password: "correct horse battery" };
  await expect(credentials.options.authorize(person, { headers: { "x-forwarded-for": ip } })).rejects.toThrow(/^busy$/);
  const code = "SERVICE_UNAVAILABLE";
  const visitor = createCaller({ user: null, ip }).account;
  await expect(visitor.startSignUp(person)).rejects.toMatchObject({ code, message: expect.stringContaining("Try again in a moment.") });
  const me = createCaller({ user: await makeUser(db()), ip }).account;
  await expect(me.changePassword({ current: "wrong", password: person.password })).rejects.toMatchObject({ code });
  end();
  await Promise.all(line);
});

test("a session keeps its id, the session version it began with, and the time of signing in", async () => {
  const { jwt } = await callbacks();
  expect(await jwt({ token: { sub: "1", version: 2, signedInAt: 5 } })).toEqual({ sub: "1", version: 2, signedInAt: 5 });
  expect(await jwt({ token: { sub: "1", version: 2, other: true } })).toEqual({ sub: "1", version: 2 });
  const session = crypto.randomUUID();
  expect(await jwt({ token: { sub: "1", version: 2, session, other: true } })).toEqual({ sub: "1", version: 2, session });
});
