-- Removes a record and the changes of it that were kept because they do not follow from the database; their requests
-- may be carried out anew.
--
-- KEYS: the record's hash, the hash of its holds, the set of resident records, the hash of lives that do not follow, the
-- record's kept entries, state
-- ARGV: the epoch to be removed, the record's name, the prefix of the keys of request ids, how many lives there are,
-- their names, and the ids of the requests of each entry that was read, [[stream id, id of the kept copy, ids], …]

if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('SREM', KEYS[3], ARGV[2])
end
local lives = tonumber(ARGV[4])
for n = 1, lives do redis.call('HDEL', KEYS[4], ARGV[4 + n]) end
local generation = tonumber(redis.call('HGET', KEYS[6], 'generation') or '0')
for _, entry in ipairs(cjson.decode(ARGV[5 + lives])) do
  redis.call('XDEL', KEYS[5], entry[2])
  for _, id in ipairs(entry[3]) do
    for g = generation - 1, generation do
      local key = ARGV[3] .. string.format('%.0f', g)
      if redis.call('HGET', key, id) == entry[1] then redis.call('HDEL', key, id) end
    end
  end
end
if redis.call('XLEN', KEYS[5]) == 0 then redis.call('DEL', KEYS[5]) end
return 1
