-- Loaded by busted before every spec: what stands in spec/support is found from the top of the tree.
package.path = "./?.lua;./?/init.lua;" .. package.path
