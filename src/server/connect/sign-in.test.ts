import { expect, test } from "vitest";
import { askedOfSignIn, mustSignInAgain } from "./sign-in.ts";

const began = new Date("2026-01-01T12:00:00.000Z");
const at = (seconds: number) => new Date(began.getTime() + seconds * 1000);
const must = (parameters: Record<string, unknown>, signedIn: number | null, now = 0) =>
  mustSignInAgain(askedOfSignIn(parameters, began), signedIn === null ? null : at(signedIn), at(now));

test("a user who signed in before the request signs in again for prompt=login, or when max_age has passed", () => {
  expect(must({}, -1_000_000)).toBe(false);
  expect(must({ prompt: "consent select_account" }, -1)).toBe(false);
  expect(must({ prompt: "consent login" }, -0.001)).toBe(true);
  expect(must({ max_age: 60 }, -60)).toBe(false);
  expect(must({ max_age: 60 }, -60.001)).toBe(true);
  expect(must({ max_age: 60 }, -30, 31)).toBe(true);
  expect(must({ max_age: 0 }, -0.001)).toBe(true);
});

test("a user who signed in after the request began does not sign in again for it", () => {
  for (const asked of [{ prompt: "login" }, { max_age: 0 }, { max_age: "1" }]) expect(must(asked, 0, 1_000)).toBe(false);
});

test("a session without the time of its sign-in makes the user sign in again", () => {
  expect(must({}, null)).toBe(true);
});
