import { expect, test } from "vitest";
import { verifiedEmail } from "./sign-in-providers.ts";

const answering = (body: unknown, status = 200) => (async () => Response.json(body, { status })) as typeof fetch;

test("Google's address is used only when Google has verified it", async () => {
  expect(await verifiedEmail("google", { email: "mara@example.com", email_verified: true }, undefined)).toBe("mara@example.com");
  expect(await verifiedEmail("google", { email: "mara@example.com", email_verified: false }, undefined)).toBeNull();
  expect(await verifiedEmail("google", { email: "mara@example.com" }, undefined)).toBeNull();
});

test("GitHub's primary address is used when it is verified, whatever the profile shows", async () => {
  const profile = { email: "victim@example.com" };
  const other = { email: "other@example.com", primary: false, verified: true };
  const primary = { email: "mara@example.com", primary: true, verified: true };
  expect(await verifiedEmail("github", profile, "t", answering([other, primary]))).toBe("mara@example.com");
  expect(await verifiedEmail("github", profile, "t", answering([other, { ...primary, verified: false }]))).toBeNull();
  await expect(verifiedEmail("github", profile, "t", answering({ message: "no" }, 401))).rejects.toThrow("401");
});
