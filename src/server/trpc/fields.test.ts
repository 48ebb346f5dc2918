import { describe, expect, test } from "vitest";
import { logoUrl, name, redirectUris, siteUrl } from "./fields.ts";

describe("redirect URIs", () => {
  test("blank lines are left out, and the message names the URI that is refused", () => {
    expect(redirectUris.parse([" https://acme.chat/a ", "", "https://acme.chat/b"])).toEqual([
      "https://acme.chat/a",
      "https://acme.chat/b",
    ]);
    const refused = redirectUris.safeParse(["https://acme.chat/a", "http://acme.chat/b"]);
    expect(refused.error?.issues[0]?.message).toMatch(/^http:\/\/acme\.chat\/b: /);
  });

  test("a duplicate is refused", () => {
    expect(redirectUris.safeParse(["https://acme.chat/a", "https://acme.chat/a"]).success).toBe(false);
  });
});

describe("a name", () => {
  test("may have letters of every script, joiners where the script needs them, and emoji", () => {
    for (const good of [
      "Acme Chat",
      "Caf\u00e9",
      "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
      "\u0915\u094d\u200d\u0937",
      "\u{1f469}\u200d\u{1f4bb} Coder",
    ])
      expect([good, name.safeParse(good).success]).toEqual([good, true]);
  });

  test("has no invisible character and none that changes the writing direction", () => {
    for (const bad of ["\u202etahC emcA", "Acme\u2066", "Acme\u200b Chat", "Acme \u200dChat", "\u3164", "Acme\u200f", "Acme\u{e0041}"]) {
      const refused = name.safeParse(bad);
      expect([JSON.stringify(bad), refused.error?.issues[0]?.message]).toEqual([
        JSON.stringify(bad),
        "A name has only printable characters.",
      ]);
    }
  });
});

describe("a site's URL", () => {
  test("is an absolute http or https URL", () => {
    expect(siteUrl.safeParse("https://acme.chat").success).toBe(true);
    for (const bad of ["acme.chat", "javascript:alert(1)", "ftp://acme.chat", ""]) expect(siteUrl.safeParse(bad).success).toBe(false);
  });
});

describe("a logo", () => {
  const png = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

  test("is a small image in a data: URL", () => {
    expect(logoUrl.safeParse(png).success).toBe(true);
  });

  test.each([
    ["a URL of another server, which would learn who sees the consent page", "https://acme.chat/logo.png"],
    ["an image format that can have scripts", `data:image/svg+xml;base64,${btoa("<svg/>")}`],
    ["an HTML page", `data:text/html;base64,${btoa("<p>")}`],
    ["HTML with the media type of an image", `data:image/png;base64,${btoa("<html>")}`],
    ["an image that is too large", `${png.slice(0, -4)}${"A".repeat(50_000)}`],
    ["invalid base64", "data:image/png;base64,<>"],
  ])("%s is refused", (_, address) => {
    expect(logoUrl.safeParse(address).success).toBe(false);
  });
});
