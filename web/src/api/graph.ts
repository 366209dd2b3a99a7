// The symbol graph on the wire, under the console's names. A kind stays open: a later gateway may know kinds that this
// page does not.

import type { components } from './schema';

type Schemas = components['schemas'];

export type SymbolNode = Schemas['Node'];
export type Relationship = Schemas['Relationship'];
export type Run = Schemas['Run'];
export type GraphStats = Schemas['GraphStats'];
export type NodeView = Schemas['NodeView'];
/** A node at the other end of a relationship. */
export type Query = Schemas['Reached'];
export type Subgraph = Schemas['Subgraph'];
