import { hash } from "@node-rs/argon2";
import { describe, expect, test } from "vitest";
import { asTheDatabase, withDatabase } from "#testing/database.ts";
import { makeUser } from "#testing/makers.ts";
import { serverSecret } from "../platform/server-secret.ts";
import { inQueue, TooBusy } from "./hashing.ts";
import { checkPassword, hashPassword } from "./passwords.ts";

const db = withDatabase("embedded");
asTheDatabase(db);

const password = "correct horse battery";

describe("signing in with a password", () => {
  test("the right password is accepted, however the email is written", async () => {
    const user = await makeUser(db(), { email: "mara@example.com", passwordHash: await hashPassword(password) });
    const verdict = await checkPassword({ email: " Mara@Example.com ", password, ip: "::1" });
    expect(verdict).toEqual({ kind: "accepted", user: { id: user.id, email: "mara@example.com", name: null, sessionVersion: 0 } });
  });

  test("a wrong password, an unknown email and a user without a password get the same answer", async () => {
    const user = await makeUser(db(), { passwordHash: await hashPassword(password) });
    const withoutPassword = await makeUser(db());
    for (const attempt of [
      { email: user.email, password: "wrong" },
      { email: "nobody@example.com", password },
      { email: withoutPassword.email, password },
      { email: withoutPassword.email, password: "" },
      { email: `${"a".repeat(400)}@example.com`, password },
      { email: "no\0body@example.com", password },
      { email: user.email, password: "a".repeat(2_000_000) },
    ]) {
      expect(await checkPassword({ ...attempt, ip: "::1" })).toEqual({ kind: "refused" });
    }
  });

  test("an unknown email takes as long as a known one", async () => {
    const user = await makeUser(db(), { passwordHash: await hashPassword(password) });
    const took = async (email: string) => {
      const begun = performance.now();
      await checkPassword({ email, password: "wrong", ip: "::1" });
      return performance.now() - begun;
    };
    await took("first@example.com");
    const unknown = Math.min(...(await Promise.all([1, 2, 3].map((n) => took(`unknown${n}@example.com`)))));
    const known = Math.min(await took(user.email), await took(user.email), await took(user.email));
    // argon2 takes tens of milliseconds, everything else less than one; a factor of five allows for noise and still finds a skipped hash.
    expect(unknown).toBeGreaterThan(known / 5);
  });

  test("after ten wrong guesses from one address the right password is refused there, and accepted from another", async () => {
    const user = await makeUser(db(), { passwordHash: await hashPassword(password) });
    for (let n = 0; n < 10; n++) await checkPassword({ email: user.email, password: "wrong", ip: "203.0.113.7" });
    expect(await checkPassword({ email: user.email, password, ip: "203.0.113.7" })).toEqual({ kind: "too_many_attempts" });
    expect((await checkPassword({ email: user.email, password, ip: "203.0.113.8" })).kind).toBe("accepted");
  });

  test("ten guesses at once count as ten", async () => {
    const user = await makeUser(db(), { passwordHash: await hashPassword(password) });
    const verdicts = await Promise.all(
      Array.from({ length: 12 }, () => checkPassword({ email: user.email, password: "wrong", ip: "203.0.113.9" })),
    );
    expect(verdicts.filter((verdict) => verdict.kind === "too_many_attempts")).toHaveLength(2);
  });

  test("two hundred wrong guesses from one address end its attempts with every email; right ones do not count", async () => {
    const user = await makeUser(db(), { passwordHash: await hashPassword(password) });
    const right = () => checkPassword({ email: user.email, password, ip: "203.0.113.20" });
    const wrong = (n: number) => checkPassword({ email: `list${n}@example.com`, password, ip: "203.0.113.20" });
    const guesses = async (count: number) => {
      const kinds: string[] = [];
      // 10 at once, below the 16 that the queue takes of one address.
      for (let n = 0; n < count; n += 10)
        kinds.push(...(await Promise.all(Array.from({ length: 10 }, (_each, index) => wrong(n + index)))).map(({ kind }) => kind));
      return new Set(kinds);
    };
    for (let n = 0; n < 5; n++) expect((await right()).kind).toBe("accepted");
    expect(await guesses(190)).toEqual(new Set(["refused"]));
    for (let n = 0; n < 5; n++) expect((await right()).kind).toBe("accepted");
    for (let n = 0; n < 10; n++) expect((await wrong(1_000 + n)).kind).toBe("refused");
    expect((await wrong(2_000)).kind).toBe("too_many_attempts");
    expect((await right()).kind).toBe("too_many_attempts");
    expect((await checkPassword({ email: user.email, password, ip: "203.0.113.21" })).kind).toBe("accepted");
  });

  test("when the queue is full an attempt is refused as too busy, and does not count", async () => {
    const user = await makeUser(db(), { passwordHash: await hashPassword(password) });
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    // Other attempts of the same address fill its part of the queue.
    const line = Array.from({ length: 16 }, () => inQueue("203.0.113.30", () => ended));
    for (let n = 0; n < 12; n++)
      await expect(checkPassword({ email: user.email, password: "wrong", ip: "203.0.113.30" })).rejects.toThrow(TooBusy);
    await expect(hashPassword(password, "203.0.113.30")).rejects.toThrow(TooBusy);
    end();
    await Promise.all(line);
    expect((await checkPassword({ email: user.email, password, ip: "203.0.113.30" })).kind).toBe("accepted");
  });

  test("signing in resets the count of wrong passwords", async () => {
    const user = await makeUser(db(), { passwordHash: await hashPassword(password) });
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < 8; n++) await checkPassword({ email: user.email, password: "wrong", ip: "::1" });
      expect((await checkPassword({ email: user.email, password, ip: "::1" })).kind).toBe("accepted");
    }
  });
});

describe("a password with characters that have several Unicode forms", () => {
  // é as one code point and as two, a ligature, full-width and circled signs, Hangul in syllables and in letters.
  const forms: [string, string][] = [
    ["caf\u00e9 au lait 1", "cafe\u0301 au lait 1"],
    ["\ufb01nancier forever", "financier forever"],
    ["ｐａｓｓｗｏｒｄ１２３", "password123"],
    ["\ud55c\uae00 \ube44\ubc00\ubc88\ud638 1234", "\ud55c\uae00 \ube44\ubc00\ubc88\ud638 1234".normalize("NFD")],
  ];

  test.each(forms)("is accepted in every form: %s", async (one, other) => {
    expect(one).not.toBe(other);
    for (const [set, typed] of [
      [one, other],
      [other, one],
      [one, one],
    ] as const) {
      const user = await makeUser(db(), { passwordHash: await hashPassword(set) });
      expect((await checkPassword({ email: user.email, password: typed, ip: "::1" })).kind).toBe("accepted");
      expect((await checkPassword({ email: user.email, password: `${typed}x`, ip: "::1" })).kind).toBe("refused");
    }
  });

  test.each(forms)("whose hash is of one form is accepted in that form, and from then on in every form: %s", async (one, other) => {
    const typed = one.normalize("NFKC") === one ? other : one;
    const old = await hash(typed, { memoryCost: 19_456, timeCost: 2, parallelism: 1 });
    const user = await makeUser(db(), { passwordHash: old });
    const kept = async () => (await db().prisma.user.findUniqueOrThrow({ where: { id: user.id } })).passwordHash;
    expect((await checkPassword({ email: user.email, password: `${typed}x`, ip: "::1" })).kind).toBe("refused");
    expect(await kept()).toBe(old);
    expect((await checkPassword({ email: user.email, password: typed, ip: "::1" })).kind).toBe("accepted");
    const renewed = await kept();
    expect(renewed).not.toBe(old);
    for (const each of [one, other]) expect((await checkPassword({ email: user.email, password: each, ip: "::1" })).kind).toBe("accepted");
    expect(await kept()).toBe(renewed);
  });
});

test("the secret that signs sessions is made once and kept in the database", async () => {
  const secret = await serverSecret();
  expect(Buffer.from(secret, "base64url")).toHaveLength(32);
  expect(await serverSecret()).toBe(secret);
  expect((await db().prisma.setting.findUniqueOrThrow({ where: { key: "session_secret" } })).value).toBe(secret);
});
