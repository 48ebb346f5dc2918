import { describe, expect, test } from "vitest";
import { logoUrl, redirectUris, siteUrl } from "./fields.ts";

describe("redirect URIs", () => {
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

describe("a logo", () => {
  const png = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

  test("is a small picture that comes with the page", () => {
    expect(logoUrl.safeParse(png).success).toBe(true);
  });

  test.each([
    ["an address elsewhere, whose server would learn who looks", "https://acme.chat/logo.png"],
    ["a picture that can have scripts", `data:image/svg+xml;base64,${btoa("<svg/>")}`],
    ["a page", `data:text/html;base64,${btoa("<p>")}`],
    ["something else under the name of a picture", `data:image/png;base64,${btoa("<html>")}`],
    ["more than fits", `${png.slice(0, -4)}${"A".repeat(50_000)}`],
    ["what is no base64", "data:image/png;base64,<>"],
  ])("%s is refused", (_, address) => {
    expect(logoUrl.safeParse(address).success).toBe(false);
  });
});
