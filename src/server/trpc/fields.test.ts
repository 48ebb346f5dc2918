import { describe, expect, test } from "vitest";
import { redirectUriProblem, redirectUris, siteUrl } from "./fields.ts";

describe("a redirect URI", () => {
  test.each([
    "https://acme.chat/callback",
    "https://acme.chat",
    "https://acme.chat:8443/callback?from=quota",
    "http://localhost/callback",
    "http://localhost:4000/callback",
    "http://127.0.0.1:4000/callback",
    "http://[::1]:4000/callback",
  ])("%s is accepted", (uri) => {
    expect(redirectUriProblem(uri)).toBeNull();
  });

  test.each([
    ["plain http on a host that others can listen to", "http://acme.chat/callback"],
    ["http on a host that only begins like localhost", "http://localhost.evil.example/callback"],
    ["http on a private address", "http://192.168.0.10/callback"],
    ["a fragment", "https://acme.chat/callback#token"],
    ["an empty fragment", "https://acme.chat/callback#"],
    ["a user name", "https://acme@evil.example/callback"],
    ["another scheme", "javascript:alert(1)"],
    ["an app's own scheme", "acme://callback"],
    ["a relative address", "/callback"],
    ["an address without its slashes", "https:acme.chat/callback"],
    ["a space", "https://acme.chat/call back"],
    ["a control character", "https://acme.chat/\u0000callback"],
    ["more than fits", `https://acme.chat/${"a".repeat(2000)}`],
  ])("%s is refused", (_, uri) => {
    expect(redirectUriProblem(uri)).not.toBeNull();
  });

  test("of several, blank lines are left out and the bad one is named", () => {
    expect(redirectUris.parse([" https://acme.chat/a ", "", "https://acme.chat/b"])).toEqual([
      "https://acme.chat/a",
      "https://acme.chat/b",
    ]);
    const refused = redirectUris.safeParse(["https://acme.chat/a", "http://acme.chat/b"]);
    expect(refused.error?.issues[0]?.message).toMatch(/^http:\/\/acme\.chat\/b: /);
  });

  test("the same one twice is refused", () => {
    expect(redirectUris.safeParse(["https://acme.chat/a", "https://acme.chat/a"]).success).toBe(false);
  });
});

describe("a site", () => {
  test("is a whole http or https address", () => {
    expect(siteUrl.safeParse("https://acme.chat").success).toBe(true);
    for (const bad of ["acme.chat", "javascript:alert(1)", "ftp://acme.chat", ""]) expect(siteUrl.safeParse(bad).success).toBe(false);
  });
});
