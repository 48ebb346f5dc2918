"use server";

import { clearQuotaAuth } from "@usequota/nextjs";
import { redirect } from "next/navigation";
import { signIn, signOut } from "../lib/session.ts";

export async function enter(_before: string | null, form: FormData): Promise<string | null> {
  if (!(await signIn(String(form.get("name") ?? "")))) return "Write a name with at least one letter.";
  redirect("/");
}

export async function leave(): Promise<void> {
  // The link stays; only this browser's cookie is deleted.
  await clearQuotaAuth();
  await signOut();
  redirect("/");
}
