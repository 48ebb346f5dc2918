/**
 * A sign-up that waits for its code, kept in this tab: phones drop a page while somebody reads
 * the mail, and a reload must not make the code useless. The password is not kept.
 */
export type Started = { signUpId: string; email: string };

const KEY = "quota-sign-up";

/** As long as the code in the mail works. */
const LIVES_MS = 20 * 60 * 1000;

export function keepStarted({ signUpId, email }: Started): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ signUpId, email, until: Date.now() + LIVES_MS }));
  } catch {
    // Where nothing can be kept, it goes on without.
  }
}

export function forgetStarted(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Nothing was kept either.
  }
}

/** What waits for its code in this tab; null for nothing, or when the code is too old. */
export function keptStarted(): Started | null {
  try {
    const { signUpId, email, until } = JSON.parse(sessionStorage.getItem(KEY) ?? "{}") as Record<string, unknown>;
    if (typeof signUpId !== "string" || typeof email !== "string" || typeof until !== "number" || until < Date.now()) return null;
    return { signUpId, email };
  } catch {
    return null;
  }
}
