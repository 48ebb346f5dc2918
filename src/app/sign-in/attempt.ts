import { signIn } from "next-auth/react";
import { dashboardErrors } from "#server/platform/dashboard-errors.ts";

/** Signs in with a password; returns the error's sentence, or null when the user is signed in. */
export async function attempt(email: string, password: string): Promise<string | null> {
  try {
    const answer = await signIn("credentials", { email, password, redirect: false });
    if (answer?.ok && !answer.error) return null;
    if (answer?.error === "too_many_attempts") return dashboardErrors.too_many_attempts.message;
    if (answer?.error === "busy") return dashboardErrors.sign_in_busy.message;
    if (answer?.error === "CredentialsSignin") return "This email and password do not belong together.";
    if (answer?.error === "unavailable") return "Quota cannot reach its database right now. Try again in a moment.";
    return "Signing in did not work because of a fault on our side. Try again in a moment.";
  } catch {
    return "The server did not answer. Check your connection and try again.";
  }
}
