import { createHash, randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AppError } from "../platform/errors.ts";
import { readCredential, readExternalUserId } from "./credentials.ts";
import type { Incoming } from "./exchange.ts";

const incoming = (headers: Record<string, string>) => ({ header: (name: string) => headers[name] ?? null }) as unknown as Incoming;
const key = `sk-quota-${"aZ09".repeat(8)}`;

function codeOf(read: () => unknown): string {
  try {
    read();
    return "accepted";
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
}

describe("the key of a request", () => {
  test("is the same in Authorization and in X-API-Key", () => {
    const hashes = [{ authorization: `Bearer ${key}` }, { authorization: `bearer  ${key} ` }, { "x-api-key": key }].map((headers) =>
      readCredential(incoming(headers as unknown as Record<string, string>)).hash.toString("hex"),
    );
    expect(new Set(hashes).size).toBe(1);
  });

  test("in any other form is refused with invalid_api_key, never with an unexpected error", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `Bearer ${text}`),
          fc.constantFrom(key, `Basic ${key}`, `Bearer ${key}x`, `Bearer ${key} ${key}`, `Bearer\u00a0${key}`),
        ),
        (authorization) => {
          expect(codeOf(() => readCredential(incoming({ authorization })))).toBe("invalid_api_key");
        },
      ),
    );
  });
});

describe("an access token", () => {
  const token = randomBytes(32).toString("base64url");

  test("is a Bearer credential", () => {
    expect(readCredential(incoming({ authorization: `Bearer ${token}` }))).toEqual({
      hash: createHash("sha256").update(token).digest(),
      byToken: true,
    });
  });

  test("is not an API key", () => {
    expect(codeOf(() => readCredential(incoming({ "x-api-key": token })))).toBe("invalid_api_key");
    expect(codeOf(() => readCredential(incoming({ authorization: token, "x-api-key": key })))).toBe("invalid_api_key");
  });
});

describe("X-Quota-User", () => {
  test("is any printable text of up to 255 characters, encoded by RFC 8187", () => {
    const printable = fc
      .string({ unit: "grapheme", minLength: 1, maxLength: 60 })
      .filter((id) => id.length <= 255 && !/[\p{Cc}\p{Cs}]|^\s|\s$/u.test(id));
    fc.assert(
      fc.property(printable, (id) => {
        expect(readExternalUserId(incoming({ "x-quota-user": `UTF-8''${encodeURIComponent(id)}` }), false)).toBe(id);
      }),
    );
  });

  test("beyond ASCII and not encoded is refused, because clients encode the same text as different bytes", () => {
    for (const id of ["josé", Buffer.from("josé", "utf8").toString("latin1"), "UTF-8''%ff", "UTF-8''%"]) {
      expect(codeOf(() => readExternalUserId(incoming({ "x-quota-user": id }), false))).toBe("bad_request");
    }
  });

  test("with white space around it is refused, because HTTP removes white space around header values", () => {
    for (const id of ["UTF-8''%20bob", "UTF-8''bob%C2%A0"])
      expect(codeOf(() => readExternalUserId(incoming({ "x-quota-user": id }), false))).toBe("bad_request");
  });

  test("is null when absent, and refused when empty, too long or with control characters", () => {
    expect(readExternalUserId(incoming({}), false)).toBeNull();
    for (const id of ["", "x".repeat(256), "a\tb", "a\u0000b", "\u0085"])
      expect(codeOf(() => readExternalUserId(incoming({ "x-quota-user": id }), false))).toBe("bad_request");
  });

  test("in a header of another name is refused, unless X-Quota-User is sent too or an access token names the payer", () => {
    for (const name of ["x-external-user-id", "x-user-id", "x-quota-user-id", "quota-user", "x-external-user", "helicone-user-id"]) {
      const read = (headers: Record<string, string>, byToken = false) =>
        readExternalUserId(incoming({ [name]: "ada", ...headers }), byToken);
      expect(() => read({})).toThrow(
        expect.objectContaining({ code: "bad_request", param: "X-Quota-User", message: expect.stringContaining(name) }),
      );
      expect(read({ "x-quota-user": "ada" })).toBe("ada");
      expect(read({}, true)).toBeNull();
    }
  });

  test("is refused with an access token", () => {
    expect(codeOf(() => readExternalUserId(incoming({ "x-quota-user": "ada" }), true))).toBe("bad_request");
  });

  test("is percent-decoded only when encoded by RFC 8187", () => {
    expect(readExternalUserId(incoming({ "x-quota-user": "100%25" }), false)).toBe("100%25");
  });
});
