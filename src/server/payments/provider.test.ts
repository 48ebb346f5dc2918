import { describe, expect, test } from "vitest";
import { parseEnv } from "#env";
import { paymentProvider } from "./provider.ts";
import { checkReturnUrl } from "./return-url.ts";

describe("payments go", () => {
  const provider = (settings: Record<string, string>) => paymentProvider(parseEnv({ NODE_ENV: "production", ...settings }));
  const postgres = { DATABASE_URL: "postgresql://db/quota" };

  test("through Stripe and nothing else when it is configured", () => {
    expect(provider({ STRIPE_SECRET_KEY: "sk_test_x" })).toBe("stripe");
    expect(provider({ STRIPE_SECRET_KEY: "sk_test_x", QUOTA_SANDBOX_CHECKOUT: "on", NODE_ENV: "development" })).toBe("stripe");
  });

  test("through the sandbox in development, and on the embedded database without a provider of models", () => {
    expect(provider({})).toBe("sandbox");
    expect(provider({ ...postgres, NODE_ENV: "development" })).toBe("sandbox");
  });

  test("nowhere in production, unless the operator says so", () => {
    expect(provider(postgres)).toBe("none");
    expect(provider({ OPENAI_API_KEY: "sk-real" })).toBe("none");
    expect(provider({ OLLAMA_BASE_URL: "http://localhost:11434/v1" })).toBe("none");
    expect(provider({ ...postgres, QUOTA_SANDBOX_CHECKOUT: "on" })).toBe("sandbox");
    expect(provider({ QUOTA_SANDBOX_CHECKOUT: "off" })).toBe("none");
  });

  test("for amounts that Stripe can charge", () => {
    expect(parseEnv({ QUOTA_PACKAGES: "10, 2.50" }).QUOTA_PACKAGES).toEqual([1_000, 250]);
    for (const bad of ["", "5,5", "0.49", "5;10", "-5", "1.234", "ten"])
      expect(() => parseEnv({ QUOTA_PACKAGES: bad }), bad).toThrow("QUOTA_PACKAGES");
  });
});

test("a checkout returns to this server or to an origin that the app registered", () => {
  const app = { redirectUris: ["https://app.acme.chat/callback"], siteUrl: "https://acme.chat" };
  expect(checkReturnUrl("/wallet?a=1", null)).toBe("http://localhost:3000/wallet?a=1");
  expect(checkReturnUrl("https://acme.chat/x#y", app)).toBe("https://acme.chat/x#y");
  expect(checkReturnUrl("https://app.acme.chat:443/", app)).toBe("https://app.acme.chat/");
  for (const elsewhere of ["https://acme.chat", "//acme.chat", "/\\evil.example", "data:text/html,x"])
    expect(checkReturnUrl(elsewhere, null)).toBeNull();
  for (const elsewhere of ["https://acme.chat:444/", "http://acme.chat/", "https://a@acme.chat/", "https://sub.acme.chat/"])
    expect(checkReturnUrl(elsewhere, app)).toBeNull();
});
