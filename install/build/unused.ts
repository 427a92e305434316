/** Stands in a bundle for what its dependencies load and nothing here uses. */
export {};
