/**
 * A pending sign-up, kept in this tab's sessionStorage: phones unload a page while its user reads
 * the mail, and a reload must not make the code useless. The password is not kept.
 */
export type Started = { signUpId: string; email: string };

const KEY = "quota-sign-up";

/** How long the code in the mail works. */
const LIVES_MS = 20 * 60 * 1000;

export function keepStarted({ signUpId, email }: Started): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ signUpId, email, until: Date.now() + LIVES_MS }));
  } catch {
    // Without storage, a reload loses the pending sign-up.
  }
}

export function forgetStarted(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Without storage nothing was kept.
  }
}

/** The pending sign-up of this tab; null without one, or when its code has expired. */
export function keptStarted(): Started | null {
  try {
    const { signUpId, email, until } = JSON.parse(sessionStorage.getItem(KEY) ?? "{}") as Record<string, unknown>;
    if (typeof signUpId !== "string" || typeof email !== "string" || typeof until !== "number" || until < Date.now()) return null;
    return { signUpId, email };
  } catch {
    return null;
  }
}
